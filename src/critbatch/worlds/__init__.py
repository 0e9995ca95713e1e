"""Made-up worlds whose truth is known, numpy only: what an estimator has to find."""
