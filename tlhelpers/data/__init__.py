"""Images and labels: splits, folders, data sets, augmentation and downloads."""
