"""Pure tensor functions with closed-form tests."""
