use super::*;

/// A state of all kinds of parts.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parts {
    numbers: Vec<u64>,
    times: Vec<Timestamp>,
    amounts: Vec<Option<i64>>,
    figures: Vec<Option<f64>>,
    money: Vec<Money>,
    texts: Vec<Option<Text>>,
    days: Vec<Option<Day>>,
}

impl State for Parts {
    const VERSION: u8 = 1;

    fn write(&self, into: &mut Writer<'_>) {
        fn all<T>(items: &[T], into: &mut Writer<'_>, write: impl Fn(&mut Writer<'_>, &T)) {
            into.number(items.len() as u64);
            for item in items {
                write(into, item);
            }
        }
        all(&self.numbers, into, |into, number| {
            into.number(*number);
            into.tagged(*number, (*number & 3) as u8);
            into.word(*number);
            into.name(*number >> 16);
        });
        all(&self.times, into, |into, time| into.time(*time));
        all(&self.amounts, into, |into, amount| into.amount(*amount));
        all(&self.figures, into, |into, figure| into.figure(*figure));
        into.number(self.money.len() as u64);
        for money in &self.money {
            into.money(money);
        }
        all(&self.texts, into, |into, text| into.text(text.as_ref()));
        all(&self.days, into, |into, day| into.day(*day));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let numbers = from.list(|from, _| {
            let number = from.number()?;
            assert_eq!(from.tagged()?, (number, (number & 3) as u8));
            assert_eq!((from.word()?, from.name()?), (number, number >> 16));
            Ok(number)
        })?;
        Ok(Self {
            numbers,
            times: from.list(|from, _| from.time())?,
            amounts: from.list(|from, _| from.amount())?,
            figures: from.list(|from, _| from.figure())?,
            money: from.list(|from, _| from.money())?,
            texts: from.list(|from, _| from.text())?,
            days: from.list(|from, _| from.day())?,
        })
    }
}

fn stored(parts: &Parts) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(parts, &mut bytes);
    assert_eq!(decode::<Parts>(&bytes).as_ref(), Ok(parts));
    bytes
}

/// The ends of what there is, powers of two and ten, and what is beside them.
fn edges() -> Vec<i64> {
    let twos = (0..63).map(|power| 1_i64 << power);
    let tens = (0..19).map(|power| 10_i64.pow(power));
    let beside = twos.chain(tens).flat_map(|edge| [edge - 1, edge, edge + 1]);
    beside.flat_map(|edge| [edge, -edge]).chain([i64::MIN, i64::MAX]).collect()
}

#[test]
fn what_is_written_is_read() {
    let edges = edges();
    let unit = |code: &str| Currency::parse(code).expect("three letters");
    let money = |(at, minor): (usize, &i64)| Money {
        minor: *minor,
        currency: unit(["EUR", "USD"][at / 3 % 2]),
        exponent: (at / 5 % 3) as u8,
    };
    let floats =
        [f64::MIN, f64::MAX, f64::EPSILON, f64::INFINITY, -0.0, 0.1, 19.99, 1.0 / 3.0, 1e-7, 9_007_199_254.740_993];
    let figures = edges.iter().flat_map(|edge| [*edge as f64, *edge as f64 / 1e6]).chain(floats);
    stored(&Parts {
        numbers: edges.iter().map(|edge| edge.cast_unsigned()).collect(),
        times: edges.iter().map(|edge| Timestamp::from_micros(*edge)).collect(),
        amounts: edges.iter().map(|edge| Some(*edge)).chain([None]).collect(),
        figures: figures.map(Some).chain([None]).collect(),
        money: edges.iter().enumerate().map(money).collect(),
        texts: vec![None, Some("".into()), Some("seller-7".into()), Some("é".repeat(100).into())],
        days: [0, 1, -1, i32::MIN, i32::MAX].into_iter().map(|day| Some(Day(day))).chain([None]).collect(),
    });
    let mut bytes = Vec::new();
    encode(&Parts { figures: vec![Some(f64::NAN)], ..Parts::default() }, &mut bytes);
    let read: Parts = decode(&bytes).expect("was just written");
    assert!(read.figures[0].is_some_and(f64::is_nan));
}

#[test]
fn what_is_short_takes_few_bytes() {
    let bytes = |parts: &Parts| stored(parts).len() - stored(&Parts::default()).len();
    let figure = |figure| bytes(&Parts { figures: vec![figure], ..Parts::default() });
    assert_eq!([None, Some(0.0), Some(4.5), Some(103.99), Some(1.0 / 3.0)].map(figure), [1, 1, 2, 3, 9]);
    let later = |micros| {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let before = bytes(&Parts { times: vec![now], ..Parts::default() });
        bytes(&Parts { times: vec![now, now.plus_micros(micros)], ..Parts::default() }) - before
    };
    assert_eq!([0, 1_000_000, -3_600_000_000, 3_600_001_000, 86_400_000_000].map(later), [1, 1, 3, 4, 3]);
    let euro = |minor| Money { minor, currency: Currency::parse("EUR").expect("three letters"), exponent: 2 };
    let money = |count| bytes(&Parts { money: vec![euro(10_399); count], ..Parts::default() });
    assert_eq!([1, 2].map(money), [7, 10], "the unit once");
}

#[test]
fn what_is_too_long_or_too_large_is_refused() {
    let numbers: &[&[u8]] = &[&[0x80; 9], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]];
    for bytes in numbers {
        let mut reader = Reader { rest: bytes, time: Timestamp::default(), unit: None };
        assert!(reader.number().is_err(), "{bytes:?}");
    }
    assert_eq!(decode::<Parts>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(CUT_OFF), "a list longer than the bytes");
    assert_eq!(decode::<Parts>(&[0; 8]), Err("bytes are left behind the state"));
    assert!(decode::<Parts>(&[0, 0, 0, 0, 1, 0, 0, 0]).is_err(), "money without a unit");
}
