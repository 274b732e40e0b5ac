"""Stages and rounds: one process function a stage, handed to MONAI's trainers, and the outer engine over them."""
