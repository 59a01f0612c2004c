"""Another configuration without a restart: read, checked, swapped, and seen on every replica."""
