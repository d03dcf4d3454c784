from parity import timm

__all__ = ["timm"]
