//! Threads for long arithmetic, behind queues that say no when they are full.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::Error;

type Job = Box<dyn FnOnce() + Send>;

/// A number of threads that take jobs from one bounded queue. They end when this is dropped and the job in hand is done.
pub(crate) struct Workers(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    longest: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    sleeping: usize,
    closed: bool,
}

/// Of the thread that generates keys: beside a thread that never rests it gets about a seventh of a core, so that keys are
/// made at all on a node that signs all day, and signing hardly feels it.
const NICENESS: i32 = 8;

/// What a thread does when its queue is empty; tells whether it did anything.
pub(crate) type IdleWork = Box<dyn Fn() -> bool + Send>;

impl Workers {
    /// Starts `threads` threads with room for `longest` waiting jobs.
    pub(crate) fn start(name: &str, threads: usize, longest: usize) -> Result<Self, Error> {
        let workers = Self::empty(longest);
        for _ in 0..threads {
            workers.spawn(name, |queue| queue.work(&|| false))?;
        }
        Ok(workers)
    }

    /// Starts one thread of low priority, which does `idle` work while nothing waits.
    pub(crate) fn start_in_background(name: &str, longest: usize, idle: IdleWork) -> Result<Self, Error> {
        let workers = Self::empty(longest);
        workers.spawn(name, move |queue| {
            // On Linux this is the priority of the calling thread alone.
            if rustix::process::setpriority_process(None, NICENESS).is_err() {
                tracing::warn!("key generation runs at normal priority: the system refused a lower one");
            }
            queue.work(&*idle);
        })?;
        Ok(workers)
    }

    fn empty(longest: usize) -> Self {
        Self(Arc::new(Queue { state: Mutex::default(), ready: Condvar::new(), longest }))
    }

    fn spawn(&self, name: &str, body: impl FnOnce(&Queue) + Send + 'static) -> Result<(), Error> {
        let queue = self.0.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || body(&queue));
        thread.map(drop).map_err(|_| Error::Unavailable)
    }

    /// Has a thread run `job` and waits for its result. A job whose caller has gone away before its turn is not run.
    ///
    /// # Errors
    /// [`Error::Busy`] if the queue is full; [`Error::Unavailable`] if the job panicked; else what the job says.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(move || {
            if sender.is_closed() {
                return;
            }
            // A receiver that went away meanwhile has no use for the result; it is dropped, and wiped if secret.
            let _ = sender.send(job());
        }))?;
        receiver.await.map_err(|_| Error::Unavailable)?
    }

    /// Has an idle thread look for idle work again.
    pub(crate) fn wake(&self) {
        // A full queue means the thread is awake.
        let _ = self.push(Box::new(|| {}));
    }

    fn push(&self, job: Job) -> Result<(), Error> {
        let mut state = self.0.lock();
        if state.jobs.len() >= self.0.longest {
            return Err(Error::Busy);
        }
        state.jobs.push_back(job);
        let wake = state.sleeping > 0;
        drop(state);
        if wake {
            self.0.ready.notify_one();
        }
        Ok(())
    }
}

impl Queue {
    /// Runs jobs until the queue is closed.
    fn work(&self, idle: &dyn Fn() -> bool) {
        let mut idle_is_done = false;
        loop {
            match self.next(idle_is_done) {
                Next::Job(job) => {
                    // A panic must cost one answer, not the thread. The job's sender is dropped, which its caller sees.
                    if std::panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                        tracing::error!("a cryptographic job panicked");
                    }
                    idle_is_done = false;
                }
                Next::Idle => {
                    let did_something = std::panic::catch_unwind(AssertUnwindSafe(idle)).unwrap_or(false);
                    idle_is_done = !did_something;
                }
                Next::Closed => return,
            }
        }
    }

    fn next(&self, wait: bool) -> Next {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            if let Some(job) = state.jobs.pop_front() {
                return Next::Job(job);
            }
            if !wait {
                return Next::Idle;
            }
            state.sleeping += 1;
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Job(Job),
    Idle,
    Closed,
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.jobs);
        drop(state);
        self.0.ready.notify_all();
        // Dropped outside the lock: a job's values may do anything when they go.
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_full_queue_says_busy_and_goes_on_when_it_has_room() {
        block_on(async {
            let workers = Arc::new(Workers::start("test", 1, 2).unwrap());
            let (open, gate) = mpsc::channel::<()>();
            let (begun, started) = oneshot::channel();
            let blocked = tokio::spawn({
                let workers = workers.clone();
                async move {
                    let job = move || {
                        begun.send(()).unwrap();
                        gate.recv().map_err(|_| Error::Unavailable)
                    };
                    workers.run(job).await
                }
            });
            started.await.unwrap();
            let waiting: Vec<_> = (0..2)
                .map(|n| {
                    let workers = workers.clone();
                    tokio::spawn(async move { workers.run(move || Ok(n)).await })
                })
                .collect();
            tokio::task::yield_now().await;
            assert!(matches!(workers.run(|| Ok(())).await, Err(Error::Busy)));
            open.send(()).unwrap();
            blocked.await.unwrap().unwrap();
            for (n, job) in waiting.into_iter().enumerate() {
                assert_eq!(job.await.unwrap().unwrap(), n);
            }
            assert_eq!(workers.run(|| Ok(7)).await.unwrap(), 7);
        });
    }

    #[test]
    fn a_panic_costs_one_answer_and_not_the_thread() {
        block_on(async {
            let workers = Workers::start("test", 1, 2).unwrap();
            let panicked = workers.run(|| -> Result<(), Error> { panic!("on purpose") }).await;
            assert!(matches!(panicked, Err(Error::Unavailable)));
            assert_eq!(workers.run(|| Ok(1)).await.unwrap(), 1);
        });
    }

    #[test]
    fn a_job_whose_caller_is_gone_is_not_run() {
        block_on(async {
            let workers = Workers::start("test", 1, 8).unwrap();
            let (open, gate) = mpsc::channel::<()>();
            let ran = Arc::new(AtomicUsize::new(0));
            let first = workers.run(move || gate.recv().map_err(|_| Error::Unavailable));
            let second = workers.run({
                let ran = ran.clone();
                move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            });
            let mut first = Box::pin(first);
            let mut second = Box::pin(second);
            tokio::select! { biased; _ = &mut first => {}, _ = &mut second => {}, () = async {} => {} }
            drop(second);
            open.send(()).unwrap();
            first.await.unwrap();
            workers.run(|| Ok(())).await.unwrap();
            assert_eq!(ran.load(Ordering::SeqCst), 0);
        });
    }

    #[test]
    fn idle_work_is_done_until_there_is_none_and_jobs_come_first() {
        block_on(async {
            let left = Arc::new(AtomicUsize::new(3));
            let idle = {
                let left = left.clone();
                Box::new(move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok())
            };
            let workers = Workers::start_in_background("test", 4, idle).unwrap();
            while left.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
            left.store(1, Ordering::SeqCst);
            workers.run(|| Ok(())).await.unwrap();
            while left.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
