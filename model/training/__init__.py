"""Training: the objectives, and what they are made of. No Ray; jobs/train.py runs them."""
