//! Build script of both gateways: leaves the tables for unwinding out of their release binaries, half a megabyte that a
//! program which aborts on a panic has no use for (Cargo cannot yet set `-C force-unwind-tables=no` for one profile). The
//! message of a panic, with its place, is printed as before; a debugger needs a build of another profile to walk the stack.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=../.cargo/release_link.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    // Where it is known to work: with the linker that comes with the compiler.
    let known = is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is("PROFILE", "release") && known {
        let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        let script = Path::new(&folder).join("../.cargo/no_unwind_tables.ld");
        println!("cargo::rerun-if-changed={}", script.display());
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
    }
}
