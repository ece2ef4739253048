package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Threads is how many tasks [Parallel] runs at once: GOMAXPROCS.
func Threads() int { return runtime.GOMAXPROCS(0) }

// Parallel calls f(0) to f(tasks-1), at most [Threads] at a time, and returns
// when all are done. The caller's goroutine works too, so that it may be called
// from within a task. Which goroutine runs a task is not fixed: tasks must not
// depend on it.
func Parallel(tasks int, f func(task int)) {
	n := min(Threads(), tasks)
	if n <= 1 {
		for i := range tasks {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	work := func() {
		for i := int(next.Add(1)) - 1; i < tasks; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	for range n - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
