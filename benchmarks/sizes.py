"""The two sizes of model that benchmarks run at, and a tiny one that shows that they run."""

SHAPES = {
    "4.3M": ["--layers", "4", "--width", "256", "--vocab", "4096"],
    "124M": ["--layers", "12", "--width", "768", "--vocab", "50257"],
}
TINY = ["--layers", "2", "--width", "64", "--vocab", "512"]
