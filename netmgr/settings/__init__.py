"""Every key of the configuration, once; how its file is read; how its page is printed."""
