"""Models: functions that build a plain torch.nn.Module. Nothing here knows any data."""
