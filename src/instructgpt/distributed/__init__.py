"""Every `torch.distributed` call; on one process all of them are the identity."""
