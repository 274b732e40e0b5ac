"""Synthetic sets: bodies with lesions whose truth is known, for tests, demo and measuring."""
