"""Nets to and from other formats: ONNX, safetensors, PyTorch, torchvision."""
