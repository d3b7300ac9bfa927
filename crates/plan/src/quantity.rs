//! Amounts as Kubernetes writes them: `10Gi`, `500m`, `1e3`.

/// An amount in billionths, rounded up; what is larger than any disk is the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(i128);

const NANO: i128 = 1_000_000_000;
/// Longer texts are no amounts; it also bounds the exponent's effect.
const LONGEST: usize = 64;

impl Quantity {
    /// Reads an amount; `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > LONGEST {
            return None;
        }
        let (negative, unsigned) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let (factor, divisor) = scale(suffix)?;
        // Digits beyond a billionth only round up.
        let digits: String = [whole, fraction].concat();
        let digits: i128 = if digits.is_empty() {
            0
        } else {
            digits.parse().ok()?
        };
        let places = u32::try_from(fraction.len()).ok()?;
        let below = 10_i128.checked_pow(places)?.checked_mul(divisor)?;
        let above = digits
            .checked_mul(NANO)
            .and_then(|amount| amount.checked_mul(factor));
        let amount = match above {
            Some(above) => above / below + i128::from(above % below != 0),
            None => i128::MAX,
        };
        Some(Self(if negative { -amount } else { amount }))
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// What a suffix multiplies and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |power: u32| Some((1024_i128.pow(power), 1));
    let decimal = |power: u32| Some((1000_i128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, NANO)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compares_what_is_written_differently() {
        let read = |text: &str| Quantity::parse(text).unwrap();
        for (a, b) in [
            ("1Gi", "1024Mi"),
            ("1.5k", "1500"),
            ("1e3", "1k"),
            ("500m", "0.5"),
            ("5E-1", ".5"),
            ("+2.", "2"),
        ] {
            assert_eq!(read(a), read(b), "{a} {b}");
        }
        assert!(read("1G") < read("1Gi") && read("10Gi") < read("1Ti") && read("-1") < read("0"));
        assert!(read("0").is_zero() && !read("0.1n").is_zero());
        for bad in ["", "Gi", "1gi", "1.2.3", "1 Gi", "--1", "1e", "ten"] {
            assert_eq!(Quantity::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(text in ".{0,70}") {
            let _ = Quantity::parse(&text);
        }
    }
}
