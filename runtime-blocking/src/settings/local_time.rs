//! The local time zone's distance from UTC, for "daily at 04:00 local time". Read once, at the start.

/// Minutes east of UTC now, from `TZ` or `/etc/localtime`; 0 when the system has neither or they cannot be read.
#[must_use]
pub(super) fn utc_offset_minutes() -> i32 {
    let seconds = tz::TimeZone::local().and_then(|zone| {
        zone.find_current_local_time_type()
            .map(|kind| kind.ut_offset())
            .map_err(Into::into)
    });
    seconds.map_or(0, |seconds| seconds / 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_an_offset_that_some_place_has() {
        assert!((-14 * 60..=14 * 60).contains(&super::utc_offset_minutes()));
    }
}
