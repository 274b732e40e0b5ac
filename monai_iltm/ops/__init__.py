"""The mathematics: tensors in, tensors out; imports torch alone."""
