package skuflow.peer;

/** An offer, as places in its bytes; read again and again into the same object. */
final class Offer {
    final Avro.In in = new Avro.In();
    byte[] bytes;
    int id, idLength, customer, customerLength, source, sourceLength, market, marketLength;
    int listing, listingLength, seller, sellerLength;
    long ingestedAt, observedAt;
    /** Where the value of the field is, and of the byte behind it. */
    int cause, causeEnd, said, saidEnd, track, trackEnd;
    /** Amounts: price, shipping, landed price, list price; in millionths, and the currency as three bytes. */
    final boolean[] has = new boolean[4];
    final long[] micros = new long[4];
    final int[] currency = new int[4];
    boolean hasFineExponents, hasRating, hasBest, hasStock;
    int availability, condition, fulfilment, buyBox, product, productLength, role;
    boolean retracted, hasTrack, hasReviews;
    double rating, best;
    long stock, reviews, rank;

    /** Reads an offer; bytes that are none are an IllegalArgumentException or an IndexOutOfBoundsException. */
    void read(byte[] value) {
        bytes = value;
        Avro.In in = this.in.on(value).frame(Avro.OFFER);
        in.text(); id = in.text; idLength = in.length;
        ingestedAt = in.number();
        in.text(); customer = in.text; customerLength = in.length;
        in.text(); source = in.text; sourceLength = in.length;
        in.text(); market = in.text; marketLength = in.length;
        observedAt = in.number();
        in.someText();
        in.someText();
        cause = in.at; in.someText(); causeEnd = in.at;
        in.text(); listing = in.text; listingLength = in.length;
        sellerLength = -1;
        if (in.someText()) { seller = in.text; sellerLength = in.length; }
        said = in.at;
        hasFineExponents = true;
        for (int i = 0; i < 4; i++) amount(i);
        availability = (int) in.number();
        hasStock = in.some();
        stock = hasStock ? in.number() : 0;
        condition = (int) in.number();
        fulfilment = (int) in.number();
        buyBox = (int) in.number();
        if (in.some()) in.number();
        rank = Long.MAX_VALUE;
        for (long items; (items = in.items()) != 0; ) {
            for (; items > 0; items--) {
                in.text();
                long said = in.number();
                if (said > 0) rank = Math.min(rank, said);
            }
        }
        hasRating = in.some();
        rating = hasRating ? in.real() : 0;
        hasBest = in.some();
        best = hasBest ? in.real() : 5;
        hasReviews = in.some();
        reviews = hasReviews ? in.number() : 0;
        saidEnd = in.at;
        for (int i = 0; i < 3; i++) in.someText();
        if (in.some()) { in.text(); if (in.some()) in.real(); }
        for (long items; (items = in.items()) != 0; ) for (; items > 0; items--) in.text();
        track = in.at;
        hasTrack = in.some();
        if (hasTrack) { in.text(); product = in.text; productLength = in.length; role = (int) in.number(); retracted = in.u8() == 1; }
        trackEnd = in.at;
        if (in.some()) { in.real(); in.text(); }
        if (in.at != value.length) throw new IllegalArgumentException("bytes are left behind the datum");
    }

    private void amount(int i) {
        has[i] = in.some();
        if (!has[i]) return;
        long minor = in.number();
        in.text();
        currency[i] = in.length == 3 ? Currencies.code(bytes, in.text) : 0;
        long exponent = in.number();
        if (exponent < 0 || exponent > 6) hasFineExponents = false;
        else for (; exponent < 6; exponent++) minor *= 10;
        micros[i] = minor;
    }

    /** Price and shipping, in millionths; 0 where there is none. */
    long landed() {
        if (has[0]) return has[1] ? currency[0] == currency[1] ? micros[0] + micros[1] : has[2] ? micros[2] : 0 : micros[0];
        return has[2] ? micros[2] : 0;
    }

    /** Who makes the offer on its listing. */
    long who() {
        return sellerLength < 0 ? Avro.mix(condition) : Avro.hash(condition, bytes, seller, seller + sellerLength);
    }
}
