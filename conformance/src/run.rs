//! Plays many vectors against many targets, several at a time, and gathers what became of them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::target::{Target, Verdict};
use crate::vector::Vector;

/// What became of one vector at one target.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The target's name.
    pub target: String,
    /// The vector's name.
    pub vector: String,
    /// What it proves.
    pub proves: Vec<String>,
    /// Why it is there.
    pub why: String,
    /// What became of it.
    pub verdict: Verdict,
    /// How it failed at first, when it passed once it was played again, alone.
    pub disturbed: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Vectors at a time: most of them wait for a clock.
const WORKERS: usize = 4;

/// Plays every vector against every target; `progress` hears how many are done, of how many. Over sockets time is real, and
/// a machine that is busy with other things can disturb a vector: one that failed there is played once more, alone, and the
/// outcome says so.
pub fn run(vectors: &[Vector], targets: &[Target], progress: &(dyn Fn(usize, usize) + Sync)) -> Vec<Outcome> {
    let jobs: Vec<(&Target, &Vector)> = targets
        .iter()
        .flat_map(|target| vectors.iter().map(move |vector| (target, vector)))
        .collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((index, (target, vector))) = take(&jobs, &next) {
                    let outcome = play(target, vector);
                    if let Ok(mut done) = done.lock() {
                        done.push((index, outcome));
                        progress(done.len(), jobs.len());
                    }
                }
            });
        }
    });
    let mut outcomes = done.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|(index, _)| *index);
    let again = |(index, outcome): (usize, Outcome)| match (&outcome.verdict, jobs.get(index)) {
        (Verdict::Failed(failure), Some((target, vector))) if !matches!(target, Target::Core) => Outcome {
            disturbed: Some(failure.to_string()),
            ..play(target, vector)
        },
        _ => outcome,
    };
    outcomes.into_iter().map(again).collect()
}

fn take<'a, T>(jobs: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(index).map(|job| (index, job))
}

fn play(target: &Target, vector: &Vector) -> Outcome {
    let start = Instant::now();
    let verdict = target.play(vector);
    Outcome {
        target: target.name().to_owned(),
        vector: vector.name.clone(),
        proves: vector.proves.clone(),
        why: vector.why.clone(),
        verdict,
        disturbed: None,
        took: start.elapsed(),
    }
}
