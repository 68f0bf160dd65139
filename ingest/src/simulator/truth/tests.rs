//! What a rule says, on series written by hand.

use expect_test::{Expect, expect};
use skuflow_schemas::BuyBox;

use super::super::observation::{HOUR, Sold};
use super::*;

/// A line is `<day>.<hour> catalog <cost> <floor> <ceiling>`, `… own <price> [won|lost|out|<rank>/<rating>]`,
/// `… s<seat> <price> [out]`, `… sold <units>` or `… stock <units>`; the seats 1, 2 and 5 are on our own listing, 6 is on one
/// that the catalog does not have.
fn fact(words: &[&str]) -> Fact {
    let number = |at: usize| words[at].parse().expect("a number");
    let offered = |seat: Seat| {
        let word = words.get(2).copied().unwrap_or_default();
        let standing = word.split_once('/').map(|(rank, rating)| Standing {
            rank: rank.parse().expect("a rank"),
            rating: rating.parse().expect("a rating"),
            reviews: 0,
        });
        let buy_box = match word {
            "won" => BuyBox::Won,
            "lost" => BuyBox::Lost,
            _ => BuyBox::None,
        };
        Offered { seat, landed: number(1), list: None, available: word != "out", buy_box, standing }
    };
    match words[0] {
        "catalog" => Fact::Catalog(Terms { cost: number(1), floor: number(2), ceiling: number(3), listings: 0b0111 }),
        "own" => Fact::Offer(offered(OWN)),
        "sold" => Fact::Sale(Sold { number: 0, units: number(1), price: 1 }),
        "stock" => Fact::Stock(number(1)),
        seat => Fact::Offer(offered(seat[1..].parse().expect("a seat"))),
    }
}

fn check(script: &str, expected: Expect) {
    let mut series = Vec::new();
    for line in script.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (day, hour) = words[0].split_once('.').expect("a day and an hour");
        let at = day.parse::<i64>().expect("a day") * DAY + hour.parse::<i64>().expect("an hour") * HOUR;
        series.push(Observation { at, product: 0, news: true, fact: fact(&words[1..]) });
    }
    let days = series.last().map_or(0, |last| last.at / DAY + 1);
    let settings = Settings { days: days as u32, ..Settings::default() };
    let edges = edges(&readings(&settings, &series), &[]);
    let shown = edges.iter().map(|(reading, _, silenced)| {
        let (day, hour) = (reading.at / DAY, reading.at % DAY / HOUR);
        let seat = reading.seat.map_or(String::new(), |seat| format!(" s{seat}"));
        let value = reading.value.map_or(String::new(), |value| format!(" {value:.2}"));
        format!("{day}.{hour} {}{seat}{value}{}\n", reading.rule.id(), if *silenced { " silenced" } else { "" })
    });
    expected.assert_eq(&shown.collect::<String>());
}

#[test]
fn a_fall_is_more_than_five_percent_below_the_offer_before() {
    let script = "
        0.0 catalog 10 20 999
        0.1 s1 2000
        0.1 s6 2000
        0.2 s1 1900
        0.3 s1 1805
        0.4 s1 2000
        0.5 s6 1000
        0.6 s1 1800
        0.7 s1 1800
        0.8 s1 1700
        1.7 s1 1600";
    check(
        script,
        expect![[r"
        0.6 competitor-price-drop s1 10.00
        0.8 competitor-price-drop s1 5.56 silenced
        1.7 competitor-price-drop s1 5.88
    "]],
    );
}

#[test]
fn a_war_takes_three_within_a_day() {
    let opening = "
        0.0 catalog 10 20 9999
        0.1 s1 1000
        0.1 s2 1000
        0.1 s3 1000
        0.1 s4 1000";
    let at_once = "
        0.2 s1 989
        0.3 s2 990
        0.4 s3 989
        0.5 s1 970
        1.1 s4 980";
    check(
        &format!("{opening}{at_once}"),
        expect![[r"
        1.1 price-war 3.00
    "]],
    );
    let a_day_apart = "
        0.2 s1 980
        0.3 s2 980
        1.2 s3 980
        1.3 s4 980
        1.4 s1 960
        1.5 s2 960
        3.0 s1 940
        3.1 s2 940
        3.2 s3 940";
    check(
        &format!("{opening}{a_day_apart}"),
        expect![[r"
        1.4 price-war 3.00
        3.2 price-war 3.00
    "]],
    );
}

#[test]
fn who_is_new_was_not_seen_for_thirty_days() {
    let script = "
        0.0 catalog 10 20 999
        0.23 s1 100
        1.0 s2 100
        1.1 s6 100
        9.0 s3 100 out
        9.1 s3 100
        9.2 s3 100 out
        9.3 s3 100 out
        30.23 s1 100
        31.1 s2 100";
    check(
        script,
        expect![[r"
        1.0 new-competitor s2
        9.0 new-competitor s3
        9.2 competitor-out-of-stock s3
        31.1 new-competitor s2
    "]],
    );
}

#[test]
fn our_own_price_is_judged_while_it_can_be_had() {
    let script = "
        0.0 catalog 90 100 120
        0.1 own 100 won
        0.2 own 99 lost
        0.3 own 98 lost
        0.4 own 110 won
        0.5 own 95 out
        0.6 own 95 lost
        0.7 own 121 won
        2.0 catalog 90 100 130
        2.1 catalog 90 100 110
        2.2 own 96 won
        2.3 catalog 86 90 110";
    check(
        script,
        expect![[r"
        0.2 buy-box-lost
        0.2 own-price-below-floor 1.00
        0.2 margin-low 0.09
        0.6 own-price-below-floor 5.00 silenced
        0.6 margin-low 0.05 silenced
        0.7 own-price-above-ceiling 0.83
        2.1 own-price-above-ceiling 10.00
        2.2 own-price-below-floor 4.00
        2.2 margin-low 0.06
    "]],
    );
}

#[test]
fn ranks_and_ratings_are_compared_by_day() {
    let script = "
        0.0 own 9 1000/450
        0.9 own 9 1100/450
        1.0 own 9 1320/450
        2.0 own 9 1321/420
        2.5 own 9 1000/419
        7.0 own 9 1300/418
        8.0 own 9 1321/418
        9.0 own 9 1321/440
        10.0 own 9 1201/411
        10.1 own 9 1201/409";
    check(
        script,
        expect![[r"
        2.0 rank-drop 20.09
        2.5 rating-drop 0.31
        9.0 rank-drop 32.10
        10.1 rating-drop 0.31
    "]],
    );
}

#[test]
fn stock_lasts_as_long_as_it_sells_on_days_on_which_there_is_some() {
    let script = "
        0.0 own 9 won
        0.5 stock 100
        0.9 sold 10
        0.9 sold -5
        0.23 stock 60
        1.1 stock 69
        1.9 sold 20
        2.0 stock 140
        2.1 own 9 out
        4.1 own 9 won
        5.0 stock 52";
    check(
        script,
        expect![[r"
        1.0 stock-out-soon 6.00
        5.0 stock-out-soon 6.93
    "]],
    );
}

#[test]
fn a_day_is_compared_with_at_least_fourteen_before_it() {
    let steady = |days: std::ops::Range<i64>| days.map(|day| format!("{day}.9 sold 10\n")).collect::<Vec<_>>().concat();
    let tail = "16.9 sold 16\n17.9 sold 16\n18.9 sold 1\n19.9 sold 15\n20.0 own 9\n";
    check(
        &format!("{}{tail}", steady(3..16)),
        expect![[r"
        18.0 demand-spike 53.42
        19.0 demand-drop 90.74
    "]],
    );
    check(
        &format!("{}{tail}", steady(2..16)),
        expect![[r"
        17.0 demand-spike 60.00
        19.0 demand-drop 90.70
    "]],
    );
    check(
        &format!("1.0 sold -5\n{}16.9 sold 15\n17.9 sold 7\n18.0 own 9\n", steady(2..16)),
        expect![[r"
        18.0 demand-drop 32.26
    "]],
    );
}
