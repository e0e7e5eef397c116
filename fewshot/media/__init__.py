"""A user's own pictures: images, videos and masks from whatever holds them, and how what was found is shown."""
