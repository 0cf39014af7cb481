//! Weight files: safetensors with torchvision's parameter names and OIHW layout.
