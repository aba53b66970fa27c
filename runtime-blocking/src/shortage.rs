//! What the log is told while connections cannot be accepted: when it begins, once a minute while it lasts, and when it
//! is over. It only finds the words; when to try again is the runtime's.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Between two lines about the same shortage.
const AGAIN: Duration = Duration::from_secs(60);
/// So long without an error, and it is over: one that comes and goes is one.
const CALM: Duration = Duration::from_secs(5);

/// One shortage at a time.
#[derive(Debug, Default)]
pub struct Shortage(Option<Lasting>);

#[derive(Debug)]
struct Lasting {
    told: Instant,
    last: Instant,
    failures: u64,
}

impl Shortage {
    /// An attempt failed. The line for the log, if it is time for one.
    pub fn met(&mut self, error: &io::Error, now: Instant) -> Option<String> {
        let Some(lasting) = &mut self.0 else {
            self.0 = Some(Lasting {
                told: now,
                last: now,
                failures: 1,
            });
            return Some(format!(
                "cannot accept connections for now: {error}{}; the gateway tries again",
                hint(error)
            ));
        };
        lasting.last = now;
        lasting.failures = lasting.failures.saturating_add(1);
        if now.saturating_duration_since(lasting.told) < AGAIN {
            return None;
        }
        lasting.told = now;
        Some(format!(
            "still short of what connections need: {error}{}; {} attempts failed so far",
            hint(error),
            lasting.failures
        ))
    }

    /// A connection was accepted. The line for the log when that ends a shortage.
    pub fn passed(&mut self, now: impl FnOnce() -> Instant) -> Option<String> {
        let failures = match &self.0 {
            Some(lasting) if now().saturating_duration_since(lasting.last) >= CALM => lasting.failures,
            _ => return None,
        };
        self.0 = None;
        Some(format!(
            "connections are accepted again; {failures} attempts had failed"
        ))
    }
}

fn hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => " (raise the limit: ulimit -n, or LimitNOFILE= of the systemd unit)",
        Some(Errno::NFILE) => " (the whole system is out of descriptors: raise fs.file-max)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_at_its_begin_once_a_minute_and_at_its_end() {
        let (mut shortage, begin) = (Shortage::default(), Instant::now());
        let error = || io::Error::from(Errno::MFILE);
        assert_eq!(shortage.passed(|| begin), None);
        let first = shortage.met(&error(), begin).unwrap();
        assert!(first.contains("ulimit -n") && first.contains("LimitNOFILE"), "{first}");
        let mut told = Vec::new();
        for tenth in 1..=1_250 {
            let now = begin + Duration::from_millis(100 * tenth);
            told.extend(shortage.met(&error(), now));
            // Now and then one gets through.
            assert_eq!(shortage.passed(|| now), None);
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|line| line.contains("601 attempts")), "{told:?}");
        let later = begin + Duration::from_secs(200);
        assert!(shortage.passed(|| later).unwrap().contains("1251 attempts"));
        assert_eq!(shortage.passed(|| later), None);
        assert!(shortage.met(&error(), later).is_some(), "the next one is told again");
    }

    #[test]
    fn other_errors_have_no_hint_of_limits() {
        let line = Shortage::default().met(&Errno::NOMEM.into(), Instant::now()).unwrap();
        assert!(!line.contains("ulimit"), "{line}");
    }
}
