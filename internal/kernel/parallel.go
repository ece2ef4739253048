package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Threads is how many tasks [Parallel] runs at once: GOMAXPROCS.
func Threads() int { return runtime.GOMAXPROCS(0) }

// Parallel calls f(0) to f(tasks-1), at most [Threads] at a time, and returns
// when all are done. The caller's goroutine works too, so that it may be called
// from within a task. Which goroutine runs a task is not fixed: tasks must not
// depend on it. A panic in a task reaches the caller once no task runs any more;
// tasks that had not begun are left out then.
func Parallel(tasks int, f func(task int)) {
	helpers := min(Threads(), tasks) - 1
	if helpers <= 0 {
		for i := range tasks {
			f(i)
		}
		return
	}
	j := &job{f: f, tasks: int64(tasks)}
	j.done.Lock()
	asked := ask(j, helpers)
	defer j.join(asked)
	j.work()
}

// Busy makes workers wait for tasks without sleeping until done is called, so
// that operators that follow each other closely lose no time by waking them. A
// training step holds it; a server, that waits more than it works, doesn't.
func Busy() (done func()) {
	busy.Add(1)
	return sync.OnceFunc(func() { busy.Add(-1) })
}

var busy atomic.Int32

// job is a call of Parallel.
type job struct {
	f       func(int)
	tasks   int64
	next    atomic.Int64        // task to begin
	running atomic.Int32        // workers that hold it
	asleep  atomic.Bool         // the caller waits for done to be unlocked
	done    sync.Mutex          // not a channel: those are bound to the bubbles of testing/synctest
	fault   atomic.Pointer[any] // the first panic in a worker
}

func (j *job) work() {
	for i := j.next.Add(1) - 1; i < j.tasks; i = j.next.Add(1) - 1 {
		j.f(int(i))
	}
}

// join takes the job back from workers that have not begun and waits for those
// that have. It runs in a defer, so that it does when the caller's task panics.
func (j *job) join(asked []*worker) {
	j.next.Store(j.tasks)
	for _, w := range asked {
		w.job.CompareAndSwap(j, nil)
	}
	for i := 0; j.running.Load() > 0; i++ {
		if i < joinSpins {
			continue
		}
		if i < joinSpins+joinYields {
			runtime.Gosched()
			continue
		}
		j.asleep.Store(true)
		if j.running.Load() > 0 {
			j.done.Lock()
		}
	}
	if v := j.fault.Load(); v != nil {
		panic(*v)
	}
}

const (
	joinSpins  = 2000
	joinYields = 500
	idleYields = 20                     // of a worker before it sleeps, when nothing is busy
	busyWait   = 500 * time.Microsecond // of a worker before it sleeps, when something is
)

// worker is a goroutine that helps. It never ends.
type worker struct {
	job    atomic.Pointer[job] // what it is asked to do
	idle   atomic.Bool
	asleep atomic.Bool
	wake   chan struct{}
}

// workers are all there are: as many as were ever wanted at once.
var (
	workers atomic.Pointer[[]*worker]
	growing sync.Mutex
)

// The usual number is started at once: a goroutine that is started within a
// bubble of testing/synctest would belong to it.
func init() { crew(Threads() - 1) }

// crew is at least n workers.
func crew(n int) []*worker {
	if all := workers.Load(); all != nil && len(*all) >= n {
		return *all
	}
	growing.Lock()
	defer growing.Unlock()
	var all []*worker
	if p := workers.Load(); p != nil {
		all = append(all, *p...)
	}
	for len(all) < n {
		w := &worker{wake: make(chan struct{}, 1)}
		w.idle.Store(true)
		all = append(all, w)
		go w.serve()
	}
	workers.Store(&all)
	return all
}

// ask hands the job to at most n idle workers.
func ask(j *job, n int) []*worker {
	var asked []*worker
	for _, w := range crew(n) {
		if len(asked) == n {
			break
		}
		if !w.idle.Load() || !w.job.CompareAndSwap(nil, j) {
			continue
		}
		asked = append(asked, w)
		if w.asleep.Load() && w.asleep.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
	return asked
}

func (w *worker) serve() {
	for {
		j := w.wait()
		j.running.Add(1) // before the job is taken: join looks at both in the other order
		if w.job.CompareAndSwap(j, nil) {
			w.idle.Store(false)
			w.run(j)
			w.idle.Store(true)
		}
		j.leave()
	}
}

func (w *worker) run(j *job) {
	ended := false
	defer func() {
		v := recover()
		if ended {
			return
		}
		if v == nil { // this goroutine is lost: another takes its place
			v = "kernel: a task of Parallel called runtime.Goexit"
			defer func() {
				w.idle.Store(true)
				j.leave()
				go w.serve()
			}()
		}
		j.next.Store(j.tasks)
		j.fault.CompareAndSwap(nil, &v)
	}()
	j.work()
	ended = true
}

func (j *job) leave() {
	if j.running.Add(-1) == 0 && j.asleep.CompareAndSwap(true, false) {
		j.done.Unlock()
	}
}

// wait returns the job that the worker is asked to do.
func (w *worker) wait() *job {
	for {
		if j := w.spin(); j != nil {
			return j
		}
		w.asleep.Store(true)
		if j := w.job.Load(); j != nil && w.asleep.CompareAndSwap(true, false) {
			return j
		}
		<-w.wake
	}
}

// spin looks for a job for a while, letting other goroutines run.
func (w *worker) spin() *job {
	var began time.Time
	for i := 0; ; i++ {
		for range 50 {
			if j := w.job.Load(); j != nil {
				return j
			}
		}
		if busy.Load() == 0 {
			if i >= idleYields {
				return nil
			}
		} else if i%16 == 0 {
			if began.IsZero() {
				began = time.Now()
			} else if time.Since(began) > busyWait {
				return nil
			}
		}
		runtime.Gosched()
	}
}
