"""The record of who is the primary: kept by three or five keepers, changed by compare-and-set, asked before a start."""
