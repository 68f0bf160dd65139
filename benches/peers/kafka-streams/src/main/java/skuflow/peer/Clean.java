package skuflow.peer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/** By listing: valid offers, each once and only where it says something new, one copy for each product that tracks the listing. */
final class Clean implements Processor<byte[], byte[], byte[], byte[]> {
    static final String SEEN = "seen", PASSED = "passed", LISTINGS = "listings", COPIES = "copies", DEAD = "dead";
    static final long DAY = 86_400_000_000L;
    /** Ids are kept by the week that they were taken in: two point lookups find one of the last seven days. */
    static final long WEEK_MS = 7 * 86_400_000L;
    private static final long AMOUNT_MAX = 1_000_000_000_000_000L, OBSERVED_AT_MIN = 631_152_000_000_000L;

    private ProcessorContext<byte[], byte[]> context;
    private WindowStore<Bytes, byte[]> seen;
    private KeyValueStore<Bytes, byte[]> passed, listings;
    private final Offer offer = new Offer();
    private final Avro.In in = new Avro.In();
    private final Avro.Out out = new Avro.Out();

    @Override public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        seen = context.getStateStore(SEEN);
        passed = context.getStateStore(PASSED);
        listings = context.getStateStore(LISTINGS);
    }

    @Override public void process(Record<byte[], byte[]> record) {
        String why;
        try {
            offer.read(record.value());
            why = objection();
        } catch (IllegalArgumentException | IndexOutOfBoundsException | NullPointerException e) {
            why = "schema-mismatch";
        }
        if (why != null) reject(record, why);
        else if (isNew() && isAnother(record.key())) route(record);
    }

    /** The rules of skuflow's `validate` that an offer can break, but for marks of what is suspect. */
    private String objection() {
        Offer o = offer;
        if (!isCustomer(o.bytes, o.customer, o.customerLength)) return "customer-invalid";
        if (o.sourceLength == 0 || o.listingLength == 0) return "id-empty";
        if (hasNul(o.source, o.sourceLength) || hasNul(o.listing, o.listingLength) || hasNul(o.market, o.marketLength)
            || hasNul(o.seller, o.sellerLength)) return "text-has-nul";
        if (!o.hasFineExponents) return "exponent-invalid";
        for (int i = 0; i < 4; i++) if (o.has[i] && Math.abs(o.micros[i]) > AMOUNT_MAX) return "amount-out-of-range";
        if (o.sourceLength > 1024 || o.listingLength > 1024 || o.marketLength > 1024) return "text-too-long";
        if (o.observedAt < OBSERVED_AT_MIN) return "past-timestamp";
        if (o.observedAt - o.ingestedAt > DAY) return "future-timestamp";
        for (int i = 0; i < 4; i++) if (o.has[i] && !Currencies.isKnown(o.currency[i])) return "currency-unknown";
        if (o.has[0] && o.micros[0] <= 0) return "price-not-positive";
        if (!Double.isFinite(o.best) || (o.hasRating && !(o.rating >= 0 && o.rating <= o.best))) return "rating-out-of-range";
        if (o.stock < 0) return "quantity-negative";
        return o.idLength == 32 ? null : "schema-mismatch";
    }

    private static boolean isCustomer(byte[] bytes, int at, int length) {
        for (int i = at; i < at + length; i++) {
            byte b = bytes[i];
            if (!(b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-')) return false;
        }
        return length >= 1 && length <= 64;
    }

    private boolean hasNul(int at, int length) {
        for (int i = at; i < at + length; i++) if (offer.bytes[i] == 0) return true;
        return false;
    }

    private void reject(Record<byte[], byte[]> record, String why) {
        var from = context.recordMetadata().orElseThrow();
        Headers headers = new RecordHeaders(record.headers());
        headers.add("__dlq.errors.topic", Avro.ascii(from.topic()));
        headers.add("__dlq.errors.partition", Avro.ascii(Integer.toString(from.partition())));
        headers.add("__dlq.errors.offset", Avro.ascii(Long.toString(from.offset())));
        headers.add("__dlq.errors.message", why.getBytes(StandardCharsets.UTF_8));
        context.forward(record.withHeaders(headers), DEAD);
    }

    /** Whether its id was not seen in seven days. */
    private boolean isNew() {
        byte[] id = new byte[16];
        for (int i = 0; i < 16; i++) id[i] = (byte) (digit(offer.bytes[offer.id + 2 * i]) << 4 | digit(offer.bytes[offer.id + 2 * i + 1]));
        Bytes key = Bytes.wrap(id);
        long week = Math.floorDiv(offer.ingestedAt / 1000, WEEK_MS) * WEEK_MS;
        for (int back = 0; back < 2; back++) {
            byte[] at = seen.fetch(key, week - back * WEEK_MS);
            if (at != null && offer.ingestedAt - in.on(at).fixed() <= 7 * DAY) return false;
        }
        seen.put(key, out.clear().fixed(offer.ingestedAt).copy(), week);
        return true;
    }

    private static int digit(int c) {
        return c <= '9' ? c - '0' : c - 'a' + 10;
    }

    /** Whether it says something else than its seller's last, or that was said a day ago. */
    private boolean isAnother(byte[] listing) {
        byte[] name = Arrays.copyOf(listing, listing.length + 8);
        long who = offer.who();
        for (int i = 0; i < 8; i++) name[listing.length + i] = (byte) (who >>> 8 * i);
        Bytes key = Bytes.wrap(name);
        long what = Avro.hash(0, offer.bytes, offer.said, offer.saidEnd);
        byte[] last = passed.get(key);
        if (last != null) {
            long said = in.on(last).fixed(), at = in.fixed();
            if (offer.observedAt < at) return true; // an older one does not become the last
            if (said == what && offer.observedAt - at < DAY) return false;
        }
        passed.put(key, out.clear().fixed(what).fixed(offer.observedAt).copy());
        return true;
    }

    /** The bytes of a copy are those of the offer, with a cause and a product. */
    private void route(Record<byte[], byte[]> record) {
        byte[] tracked = listings.get(Bytes.wrap(record.key()));
        if (tracked == null) return;
        Offer o = offer;
        for (in.on(tracked); in.at < tracked.length; ) {
            in.text();
            int product = in.text, length = in.length;
            int role = in.u8();
            boolean hasSeller = in.u8() == 1;
            if (hasSeller) {
                in.text();
                boolean ours = o.sellerLength == in.length
                    && Arrays.equals(o.bytes, o.seller, o.seller + o.sellerLength, tracked, in.text, in.text + in.length);
                if (role == 1 && !ours) role = 2;
            }
            out.clear().raw(o.bytes, 0, o.cause).number(1).text(o.bytes, o.id, o.idLength).raw(o.bytes, o.causeEnd, o.track - o.causeEnd);
            out.number(1).text(tracked, product, length).number(role).u8(0).raw(o.bytes, o.trackEnd, o.bytes.length - o.trackEnd);
            byte[] value = out.copy();
            out.clear().raw(o.bytes, o.customer, o.customerLength).u8('/').raw(tracked, product, length);
            context.forward(record.withKey(out.copy()).withValue(value), COPIES);
        }
    }

    /** The table of who tracks a listing. */
    static final class Listings implements Processor<byte[], byte[], Void, Void> {
        private KeyValueStore<Bytes, byte[]> listings;
        private final Avro.In in = new Avro.In(), known = new Avro.In();
        private final Avro.Out out = new Avro.Out();

        @Override public void init(ProcessorContext<Void, Void> context) {
            listings = context.getStateStore(LISTINGS);
        }

        @Override public void process(Record<byte[], byte[]> record) {
            if (record.value() == null) return; // no row is taken back here
            int bar = 0;
            while (bar < record.key().length && record.key()[bar] != '|') bar++;
            Bytes key = Bytes.wrap(Arrays.copyOf(record.key(), bar));
            in.on(record.value()).frame(Avro.LISTING);
            in.text(); in.number(); in.text(); in.text(); in.text(); in.number();
            in.someText(); in.someText(); in.someText();
            in.text(); in.text(); in.text();
            boolean hasSeller = in.someText();
            int seller = in.text, sellerLength = in.length;
            in.text();
            int role = (int) in.number();
            out.clear();
            byte[] rows = listings.get(key);
            if (rows != null) {
                for (known.on(rows); known.at < rows.length; ) {
                    int begin = known.at;
                    known.text();
                    boolean same = Arrays.equals(rows, known.text, known.text + known.length, in.bytes, in.text, in.text + in.length);
                    known.u8();
                    if (known.u8() == 1) known.text();
                    if (!same) out.raw(rows, begin, known.at - begin);
                }
            }
            out.text(in.bytes, in.text, in.length).u8(role).u8(hasSeller ? 1 : 0);
            if (hasSeller) out.text(in.bytes, seller, sellerLength);
            listings.put(key, out.copy());
        }
    }
}
