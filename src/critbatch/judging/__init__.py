"""From evidence to verdicts: what all claims share."""
