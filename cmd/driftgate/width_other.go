//go:build !unix

package main

import "os"

// terminalWidth is not asked for here.
func terminalWidth(*os.File) int { return usualWidth }
