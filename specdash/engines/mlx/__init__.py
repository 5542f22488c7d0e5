"""MLX: the stock mlx_lm.server, and specdash-mlx."""
