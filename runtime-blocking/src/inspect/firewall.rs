//! Whether this machine's firewall closes a port to others, told from what ufw, nftables and iptables list. Read-only, each
//! asked for at most three seconds. What cannot be told is unknown, never active.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_core::security::Firewall;

const PATIENCE: Duration = Duration::from_secs(3);
/// Rule sets beyond this are cut: it is more than any person writes.
const MAX_LISTING: u64 = 4 << 20;

/// Asks the machine.
#[must_use]
pub fn look(port: u16) -> Firewall {
    let verdicts = [
        list("ufw", &["status"]).map(|listing| judge_ufw(&listing, port)),
        list("nft", &["list", "ruleset"]).map(|listing| judge_nft(&listing, port)),
        list("iptables", &["-S", "INPUT"]).map(|listing| judge_iptables(&listing, port)),
    ];
    let mut verdicts = verdicts.into_iter().flatten().peekable();
    if verdicts.peek().is_none() {
        return Firewall::Unknown;
    }
    if verdicts.any(|closed| closed) {
        Firewall::Active
    } else {
        Firewall::Inactive
    }
}

/// What a program lists; `None` when it is not there, fails, or takes too long.
fn list(program: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdout = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.by_ref().take(MAX_LISTING).read_to_end(&mut text).ok()?;
        String::from_utf8(text).ok()
    });
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            _ => break None,
        }
    };
    if status.is_none() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = reader.join().ok()??;
    status.filter(std::process::ExitStatus::success).map(|_| text)
}

/// ufw closes the port: it is active, and the first rule for the port that is open to anybody, if any, denies.
fn judge_ufw(listing: &str, port: u16) -> bool {
    if !listing.lines().any(|line| line.trim() == "Status: active") {
        return false;
    }
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(&to) = words.first() else { continue };
        let is_port = to == port.to_string() || to == format!("{port}/tcp") || to == "Anywhere";
        let from_anywhere = words.iter().skip(1).any(|word| *word == "Anywhere");
        if is_port && from_anywhere {
            return words.iter().any(|word| matches!(*word, "DENY" | "REJECT"));
        }
    }
    // No rule for the port: ufw's default for what comes in is to deny.
    true
}

/// A chain on the input hook drops by its policy or drops this port, and no rule before lets everybody in to it.
fn judge_nft(listing: &str, port: u16) -> bool {
    let mut in_input = false;
    for line in listing.lines().map(str::trim) {
        if line.starts_with("chain ") {
            in_input = false;
        } else if line.contains("hook input") {
            in_input = true;
            if line.contains("policy drop") {
                return true;
            }
        } else if in_input && names_port(line, "dport", port) {
            let for_all = !line.contains("saddr") && !line.contains("iif");
            if line.ends_with("drop") || line.contains(" reject") {
                return true;
            }
            if for_all && line.ends_with("accept") {
                return false;
            }
        }
    }
    false
}

/// The same of iptables' INPUT chain.
fn judge_iptables(listing: &str, port: u16) -> bool {
    for line in listing.lines().map(str::trim) {
        if line == "-P INPUT DROP" || line == "-P INPUT REJECT" {
            return true;
        }
        let for_all = !line.contains(" -s ") && !line.contains(" -i ");
        if names_port(line, "--dport", port) && for_all {
            return line.contains("-j DROP") || line.contains("-j REJECT");
        }
    }
    false
}

fn names_port(line: &str, before: &str, port: u16) -> bool {
    let port = port.to_string();
    let mut words = line.split_whitespace();
    words.any(|word| word == before) && words.next() == Some(port.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ufw() {
        let head = "Status: active\n\nTo                         Action      From\n--                         ------      ----\n";
        for (listing, closed) in [
            ("Status: inactive\n".to_owned(), false),
            (head.to_owned(), true),
            (format!("{head}18789                      DENY        Anywhere\n"), true),
            (
                format!("{head}18789/tcp                  ALLOW       Anywhere\n"),
                false,
            ),
            (
                format!("{head}18789                      ALLOW       100.64.0.0/10\n18789   DENY   Anywhere\n"),
                true,
            ),
            (format!("{head}22/tcp                     ALLOW       Anywhere\n"), true),
        ] {
            assert_eq!(judge_ufw(&listing, 18_789), closed, "{listing}");
        }
    }

    #[test]
    fn nftables() {
        let chain = |policy: &str, rules: &str| {
            format!(
                "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy {policy};\n{rules}\t}}\n}}\n"
            )
        };
        for (listing, closed) in [
            (String::new(), false),
            (chain("accept", ""), false),
            (chain("drop", ""), true),
            (chain("accept", "\t\ttcp dport 18789 drop\n"), true),
            (
                chain(
                    "accept",
                    "\t\tip saddr 100.64.0.0/10 tcp dport 18789 accept\n\t\ttcp dport 18789 drop\n",
                ),
                true,
            ),
            (
                chain("accept", "\t\ttcp dport 18789 accept\n\t\ttcp dport 18789 drop\n"),
                false,
            ),
            (chain("accept", "\t\ttcp dport 187890 drop\n"), false),
        ] {
            assert_eq!(judge_nft(&listing, 18_789), closed, "{listing}");
        }
    }

    #[test]
    fn iptables() {
        for (listing, closed) in [
            ("-P INPUT ACCEPT\n", false),
            ("-P INPUT DROP\n", true),
            (
                "-P INPUT ACCEPT\n-A INPUT -s 127.0.0.1/32 -p tcp -m tcp --dport 18789 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 18789 -j DROP\n",
                true,
            ),
            (
                "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 18789 -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 18789 -j DROP\n",
                false,
            ),
        ] {
            assert_eq!(judge_iptables(listing, 18_789), closed, "{listing}");
        }
    }
}
