"""Running a command inside User Mode Linux, over the machine's own root file system."""
