"""specdash measures speculative decoding of large language models on the machine that it runs on."""

__version__ = "0.1.0"
