//! Histories by month: pure.

use skuflow_schemas::BusinessDate;

/// The first day of a day's month; none outside of the years 1 to 9999.
pub(super) fn month(day: BusinessDate) -> Option<BusinessDate> {
    let day = day.to_string();
    if day.len() != "2026-11-22".len() || day.starts_with("day") || day.starts_with("0000") {
        return None;
    }
    format!("{}-01", &day[.."2026-11".len()]).parse().ok()
}

/// The first day of the month behind one that begins on `first`.
pub(super) fn behind(first: BusinessDate) -> BusinessDate {
    (28..=31)
        .map(|days| BusinessDate(first.0 + days))
        .find(|day| month(*day) != Some(first))
        .unwrap_or(BusinessDate(first.0 + 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end() {
        for (day, first, next) in [
            ("2026-11-22", "2026-11-01", "2026-12-01"),
            ("2024-02-29", "2024-02-01", "2024-03-01"),
            ("2026-12-31", "2026-12-01", "2027-01-01"),
            ("0001-01-01", "0001-01-01", "0001-02-01"),
        ] {
            let [day, first, next] = [day, first, next].map(|day| day.parse::<BusinessDate>().expect("a day"));
            assert_eq!(month(day), Some(first));
            assert_eq!(behind(first), next);
        }
        let outside = ["0000-12-31".parse().expect("a day"), BusinessDate(-800_000), BusinessDate(4_000_000)];
        assert_eq!(outside.map(month), [None; 3]);
    }
}
