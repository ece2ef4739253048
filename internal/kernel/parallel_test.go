package kernel

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func withThreads(n int) (restore func()) {
	was := runtime.GOMAXPROCS(n)
	return func() { runtime.GOMAXPROCS(was) }
}

func TestParallelRunsEachTaskOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 8} {
		restore := withThreads(threads)
		for _, tasks := range []int{0, 1, 2, 3, 7, 100, 1000} {
			for _, busy := range []bool{false, true} {
				if busy {
					defer Busy()()
				}
				for range 20 {
					ran := make([]atomic.Int32, tasks)
					var at, most atomic.Int32
					Parallel(tasks, func(i int) {
						most.Store(max(most.Load(), at.Add(1)))
						ran[i].Add(1)
						at.Add(-1)
					})
					for i := range ran {
						if n := ran[i].Load(); n != 1 {
							t.Fatalf("%d threads: task %d of %d ran %d times", threads, i, tasks, n)
						}
					}
					if int(most.Load()) > threads {
						t.Fatalf("%d tasks ran at once on %d threads", most.Load(), threads)
					}
				}
			}
		}
		restore()
	}
}

func TestParallelUsesAllThreads(t *testing.T) {
	defer withThreads(3)()
	var all sync.WaitGroup
	all.Add(3)
	Parallel(3, func(int) { all.Done(); all.Wait() }) // hangs unless three run at once
}

func TestParallelNestsAndIsCalledFromManyGoroutines(t *testing.T) {
	defer withThreads(4)()
	var sum atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				Parallel(5, func(i int) {
					Parallel(4, func(j int) {
						Parallel(2, func(k int) { sum.Add(int64(100*i + 10*j + k)) })
					})
				})
			}
		})
	}
	wg.Wait()
	if want := int64(8 * 50 * (100*10*4*2 + 10*6*5*2 + 5*4)); sum.Load() != want {
		t.Errorf("the tasks add up to %d, want %d", sum.Load(), want)
	}
}

func TestPanicOfATaskReachesTheCaller(t *testing.T) {
	defer withThreads(3)()
	for bad := range 6 {
		func() {
			defer func() {
				if v := recover(); fmt.Sprint(v) != fmt.Sprint("task ", bad) {
					t.Errorf("task %d panicked, the caller got %v", bad, v)
				}
			}()
			Parallel(6, func(i int) {
				time.Sleep(time.Millisecond) // so that workers get some
				if i == bad {
					panic(fmt.Sprint("task ", bad))
				}
			})
			t.Errorf("task %d panicked, the caller went on", bad)
		}()
	}
	var n atomic.Int32
	Parallel(100, func(int) { n.Add(1) })
	if n.Load() != 100 {
		t.Errorf("after panics %d of 100 tasks ran", n.Load())
	}
}

func TestATaskThatLeavesItsGoroutineIsAPanic(t *testing.T) {
	defer withThreads(2)()
	ended := make(chan any)
	go func() {
		defer func() { ended <- recover() }()
		one := make(chan struct{})
		Parallel(2, func(int) {
			select { // one of the two, each on its goroutine
			case one <- struct{}{}:
			case <-one:
				runtime.Goexit()
			}
		})
	}()
	<-ended // a panic in the caller, or its own end
	var n atomic.Int32
	Parallel(100, func(int) { n.Add(1) })
	if n.Load() != 100 {
		t.Errorf("afterwards %d of 100 tasks ran", n.Load())
	}
}

func TestWorkersSleepWhenNothingIsBusy(t *testing.T) {
	defer withThreads(2)()
	var n atomic.Int32
	done := Busy()
	Parallel(100, func(int) { n.Add(1) })
	done()
	done() // twice is once
	if busy.Load() != 0 {
		t.Fatalf("%d busy sections after the last ended", busy.Load())
	}
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		awake := 0
		for _, w := range *workers.Load() {
			if !w.asleep.Load() {
				awake++
			}
		}
		if awake == 0 {
			return
		}
		if time.Since(began) > 5*time.Second {
			t.Fatalf("%d workers are awake after 5 s", awake)
		}
	}
}

func TestParallelWithinABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		for range 100 {
			Parallel(8, func(int) { n.Add(1) })
		}
		if n.Load() != 800 {
			t.Errorf("%d of 800 tasks ran", n.Load())
		}
	})
}

// Operators that follow each other closely: how long the seam between two is.
func BenchmarkParallel(b *testing.B) {
	defer Busy()()
	for b.Loop() {
		Parallel(2, func(int) {})
	}
}
