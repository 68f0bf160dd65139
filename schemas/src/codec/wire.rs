//! Avro's binary encoding of what events are made of, and of the families in their latest version, field by field.
//!
//! Decoding and encoding took half of the time of a stage through serde and its lookups by name, and a seventh of that
//! time this way (`cargo bench`, stage `clean`). The tests hold it to the schemas: every byte as `serde_avro_fast` has it.

use crate::{
    Alert, Availability, BusinessDate, BuyBox, Catalog, Change, Condition, Currency, Envelope, EventId, Evidence,
    Extraction, Features, Fulfilment, Inventory, Listing, ListingRef, Money, Offer, Outcome, Pack, Quality,
    QuantityRelation, Rank, Reason, Role, Sale, SaleStatus, Severity, Text, Timestamp, Track, Vantage,
};

/// Why bytes do not fit.
pub(crate) type Misfit = &'static str;

const CUT_OFF: Misfit = "the bytes end within the datum";

/// Something with a place in Avro's binary encoding.
pub(crate) trait Wire: Sized {
    /// Appends the value.
    fn write(&self, into: &mut Vec<u8>);
    /// Takes the value off the front of `from`.
    fn read(from: &mut &[u8]) -> Result<Self, Misfit>;
}

fn take<'a>(from: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Misfit> {
    let (taken, rest) = from.split_at_checked(bytes).ok_or(CUT_OFF)?;
    *from = rest;
    Ok(taken)
}

/// Zigzag, 7 bits a byte, the lowest first.
impl Wire for i64 {
    fn write(&self, into: &mut Vec<u8>) {
        let mut rest = ((self << 1) ^ (self >> 63)).cast_unsigned();
        while rest >= 0x80 {
            into.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        into.push(rest as u8);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        let mut value = 0_u64;
        for (index, byte) in from.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && *byte > 1 {
                return Err("a number has more than 64 bits");
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                *from = &from[index + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(CUT_OFF)
    }
}

impl Wire for i32 {
    fn write(&self, into: &mut Vec<u8>) {
        i64::from(*self).write(into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        i64::read(from)?.try_into().map_err(|_| "a number has more than 32 bits")
    }
}

impl Wire for f64 {
    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.to_le_bytes());
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        let (bytes, rest) = from.split_first_chunk().ok_or(CUT_OFF)?;
        *from = rest;
        Ok(Self::from_le_bytes(*bytes))
    }
}

impl Wire for bool {
    fn write(&self, into: &mut Vec<u8>) {
        into.push(u8::from(*self));
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        match take(from, 1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err("a boolean is neither 0 nor 1"),
        }
    }
}

fn write_text(text: &[u8], into: &mut Vec<u8>) {
    (text.len() as i64).write(into);
    into.extend_from_slice(text);
}

fn read_text<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], Misfit> {
    let length = usize::try_from(i64::read(from)?).map_err(|_| "a text has a negative length")?;
    take(from, length)
}

impl Wire for Text {
    fn write(&self, into: &mut Vec<u8>) {
        write_text(self.as_bytes(), into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        Self::from_utf8(read_text(from)?).map_err(|_| "a text is not UTF-8")
    }
}

impl Wire for EventId {
    fn write(&self, into: &mut Vec<u8>) {
        write_text(&self.hex(), into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        Self::parse(read_text(from)?).map_err(|_| "an event id is not 32 hex digits")
    }
}

impl Wire for Currency {
    fn write(&self, into: &mut Vec<u8>) {
        write_text(self.as_bytes(), into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        Self::from_bytes(read_text(from)?).ok_or("a currency is not three letters")
    }
}

impl Wire for Timestamp {
    fn write(&self, into: &mut Vec<u8>) {
        self.micros().write(into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        i64::read(from).map(Self::from_micros)
    }
}

impl Wire for BusinessDate {
    fn write(&self, into: &mut Vec<u8>) {
        self.0.write(into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        i32::read(from).map(Self)
    }
}

impl Wire for Money {
    fn write(&self, into: &mut Vec<u8>) {
        self.minor.write(into);
        self.currency.write(into);
        i32::from(self.exponent).write(into);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        let (minor, currency) = (i64::read(from)?, Currency::read(from)?);
        let exponent = i32::read(from)?.try_into().map_err(|_| "an exponent is not within 0 and 255")?;
        Ok(Self { minor, currency, exponent })
    }
}

/// The union of null, its first branch, and a type.
impl<T: Wire> Wire for Option<T> {
    fn write(&self, into: &mut Vec<u8>) {
        match self {
            None => into.push(0),
            Some(value) => {
                into.push(2);
                value.write(into);
            }
        }
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        match i64::read(from)? {
            0 => Ok(None),
            1 => T::read(from).map(Some),
            _ => Err("a union has no such branch"),
        }
    }
}

/// An array in one block; blocks of any number are read.
impl<T: Wire> Wire for Vec<T> {
    fn write(&self, into: &mut Vec<u8>) {
        if !self.is_empty() {
            (self.len() as i64).write(into);
            for item in self {
                item.write(into);
            }
        }
        into.push(0);
    }

    fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
        let mut items = Self::new();
        loop {
            let count = match i64::read(from)? {
                0 => return Ok(items),
                count if count < 0 => {
                    i64::read(from)?; // the block's length, for who would skip it
                    count.unsigned_abs()
                }
                count => count.unsigned_abs(),
            };
            for _ in 0..count {
                items.push(T::read(from)?);
            }
        }
    }
}

/// An enum by the order of its symbols in the schema.
macro_rules! enumeration {
    ($name:ident { $($variant:ident),+ }) => {
        impl Wire for $name {
            fn write(&self, into: &mut Vec<u8>) {
                const ORDER: &[$name] = &[$($name::$variant),+];
                let place = ORDER.iter().position(|variant| variant == self).expect("all are listed");
                (place as i64).write(into);
            }

            fn read(from: &mut &[u8]) -> Result<Self, Misfit> {
                const ORDER: &[$name] = &[$($name::$variant),+];
                let place = usize::try_from(i64::read(from)?).ok().and_then(|place| ORDER.get(place));
                place.copied().ok_or("an enum has no such symbol")
            }
        }
    };
}

/// A record by the order of its fields in the schema.
macro_rules! record {
    ($name:ident { $($field:ident),+ }) => {
        impl $crate::codec::wire::Wire for $name {
            fn write(&self, into: &mut Vec<u8>) {
                $($crate::codec::wire::Wire::write(&self.$field, into);)+
            }

            fn read(from: &mut &[u8]) -> Result<Self, $crate::codec::wire::Misfit> {
                Ok(Self { $($field: $crate::codec::wire::Wire::read(from)?),+ })
            }
        }
    };
}
pub(crate) use record;

record!(Envelope {
    event_id,
    ingested_at,
    customer,
    source,
    marketplace,
    observed_at,
    source_event_id,
    source_version,
    cause_id
});

record!(Offer {
    envelope,
    native_id,
    seller,
    price,
    shipping,
    landed_price,
    list_price,
    availability,
    stock_level,
    condition,
    fulfilment,
    buy_box,
    offer_count,
    ranks,
    rating,
    rating_best,
    review_count,
    vantage,
    extraction,
    suspect,
    track,
    pack
});
record!(Pack { quantity, unit });
record!(Rank { category, rank });
record!(Vantage { country, postal, membership });
record!(Extraction { method, confidence });
record!(Track { product, role, retracted });
enumeration!(Availability {
    Unknown,
    InStock,
    Limited,
    Low,
    Backorder,
    Preorder,
    MadeToOrder,
    InStoreOnly,
    OutOfStock,
    Discontinued
});
enumeration!(Condition { Unknown, New, OpenBox, Refurbished, Used, Damaged });
enumeration!(Fulfilment { Unknown, Marketplace, Seller, Digital, Pickup });
enumeration!(BuyBox { Unknown, Won, Lost, None });

record!(Sale { envelope, native_id, order_id, line_id, units, unit_price, status, business_date, suspect, track });
enumeration!(SaleStatus { Unknown, Pending, Completed, Cancelled, Returned });

record!(Inventory { envelope, native_id, location, quantity, relation, suspect, track });
enumeration!(QuantityRelation { Unknown, Exact, AtLeast });

record!(Catalog {
    envelope,
    product,
    name,
    category,
    currency,
    cost,
    price_floor,
    price_ceiling,
    own,
    competitors,
    active
});
record!(ListingRef { source, marketplace, native_id, seller });

record!(Listing { envelope, listing, product, role });
enumeration!(Role { Unknown, Own, Competitor });

record!(Quality { customer, source, family, hour, outcome, rule, count, latest_observed_at });
enumeration!(Outcome { Unknown, Accepted, Unchanged, Duplicate, Conflicting, Rejected, Suspect, Late });

record!(Features { envelope, product, currency, values, reasons, change });
record!(Change {
    listing,
    seller,
    role,
    price,
    previous_price,
    availability,
    previous_availability,
    buy_box,
    previous_buy_box,
    entered
});
enumeration!(Reason {
    Unknown,
    Present,
    NoSource,
    NoCatalog,
    NoOwnOffer,
    NoCompetitor,
    OtherCurrency,
    NotObserved,
    TooShort,
    NoSales,
    NotStated
});

record!(Alert { envelope, product, rule, severity, message, seller, dedup_key, value, evidence });
record!(Evidence { name, value, previous });
enumeration!(Severity { Unknown, Info, Warning, Critical });

#[cfg(test)]
mod tests;
