"""Networks: nn.Modules, tensors in and tensors out."""
