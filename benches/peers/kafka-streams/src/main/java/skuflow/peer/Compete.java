package skuflow.peer;

import java.util.Locale;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * By product: its figures whenever one of them or an offer changes, and an alert where a competitor lowers the price. One of
 * these takes the copies of offers, another the entries of the catalog; they share the store.
 */
final class Compete implements Processor<byte[], byte[], byte[], byte[]> {
    static final String MARKETS = "markets", FEATURES = "features", ALERTS = "alerts";
    private static final long DAY = Market.DAY, ACTIVE = 30 * DAY, COOLDOWN = DAY;
    private static final double WORSE_BY = 5;
    private static final byte[] SOURCE = Avro.ascii("skuflow"), NOTHING = {}, RULE = Avro.ascii("competitor-price-drop");
    private static final byte[] PRICE = Avro.ascii("change.price"), BEFORE = Avro.ascii("change.previous_price");

    private final boolean isCatalog;
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<Bytes, byte[]> markets;
    private final Offer offer = new Offer();
    private final Market market = new Market();
    private final Figures figures = new Figures();
    private final Avro.Out out = new Avro.Out();
    private final Avro.In in = new Avro.In();

    /** Why figures are given: the id of the record, and its time. */
    private byte[] causeIn;
    private int cause, causeLength;
    private long causedAt;

    /** What changed of an offer. */
    private boolean hasChange, entered;
    private int place, changedRole, nowAvailability, beforeAvailability, nowBox, beforeBox, nowCurrency, beforeCurrency;
    private long nowPrice, beforePrice;

    Compete(boolean isCatalog) {
        this.isCatalog = isCatalog;
    }

    @Override public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        markets = context.getStateStore(MARKETS);
    }

    @Override public void process(Record<byte[], byte[]> record) {
        if (record.value() == null) return; // no entry is taken back here
        Bytes key = Bytes.wrap(record.key());
        market.read(markets.get(key));
        if (isCatalog) entry(record); else offer(record);
        markets.put(key, market.write());
    }

    private void offer(Record<byte[], byte[]> record) {
        Offer o = offer;
        o.read(record.value());
        Market m = market;
        if (m.product.length == 0) {
            m.customer = slice(o.customer, o.customerLength);
            m.product = slice(o.product, o.productLength);
        }
        m.takenAt = Math.max(m.takenAt, o.ingestedAt);
        causeIn = o.bytes; cause = o.id; causeLength = o.idLength; causedAt = o.observedAt;
        advance(record, o.observedAt);
        hear();
        give(record, true);
        if (hasChange) alert(record);
    }

    private void entry(Record<byte[], byte[]> record) {
        Market m = market;
        in.on(record.value()).frame(Avro.CATALOG);
        causeIn = record.value();
        in.text(); cause = in.text; causeLength = in.length;
        long ingestedAt = in.number();
        in.text();
        byte[] customer = java.util.Arrays.copyOfRange(causeIn, in.text, in.at);
        in.text(); in.text();
        causedAt = in.number();
        in.someText(); in.someText(); in.someText();
        in.text();
        if (m.product.length == 0) { m.customer = customer; m.product = java.util.Arrays.copyOfRange(causeIn, in.text, in.at); }
        m.takenAt = Math.max(m.takenAt, ingestedAt);
        in.someText(); in.someText();
        int currency = in.someText() && in.length == 3 ? Currencies.code(causeIn, in.text) : 0;
        m.hasCost = in.some();
        if (m.hasCost) {
            m.cost = in.number();
            in.text();
            for (long exponent = in.number(); exponent < 6; exponent++) m.cost *= 10;
        }
        if (!m.hasSince && m.offers > 0) { m.hasSince = true; m.since = Math.max(causedAt, m.now); }
        if (!m.hasEntry) m.entryAt = causedAt;
        m.hasEntry = true;
        if (currency != 0) m.currency = currency;
        hasChange = false;
        give(record, true);
    }

    private byte[] slice(int at, int length) {
        return java.util.Arrays.copyOfRange(offer.bytes, at, at + length);
    }

    /** Takes the time; each day that has turned since gives its figures, where time alone has changed one. */
    private void advance(Record<byte[], byte[]> record, long to) {
        Market m = market;
        if (m.hasNow && to <= m.now) return;
        hasChange = false;
        while (m.hasNow && Math.floorDiv(m.now, DAY) < Math.floorDiv(to, DAY)) {
            move((Math.floorDiv(m.now, DAY) + 1) * DAY);
            give(record, false);
        }
        move(to);
    }

    private void move(long to) {
        Market m = market;
        boolean turns = m.hasNow && Math.floorDiv(m.now, DAY) != Math.floorDiv(to, DAY);
        m.live(to);
        m.now = to;
        m.hasNow = true;
        if (turns) m.windows();
        m.expire(ACTIVE);
    }

    private void hear() {
        Market m = market;
        Offer o = offer;
        long seller = o.sellerLength < 0 ? 0 : Avro.hash(5, o.bytes, o.seller, o.seller + o.sellerLength);
        long id = Avro.hash(seller ^ o.who(), o.bytes, o.listing, o.listing + o.listingLength);
        int found = m.find(id);
        hasChange = true;
        entered = false;
        beforePrice = 0;
        beforeAvailability = beforeBox = beforeCurrency = 0;
        if (m.currency == 0 && o.role == 1 && o.landed() > 0) m.currency = o.currency[0];
        if (!m.hasSince && m.hasEntry) { m.hasSince = true; m.since = Math.max(m.entryAt, m.now); }
        if (found >= 0 && m.at[found] > o.observedAt) { hasChange = false; return; }
        int i = found < 0 ? m.add(id) : found;
        if (found < 0) {
            entered = m.hasSince && o.observedAt - m.since >= DAY;
            if (entered) m.enteredAt[i] = o.observedAt;
        } else {
            beforePrice = m.landed[i];
            beforeCurrency = m.priceIn[i];
            beforeAvailability = m.availability[i];
            beforeBox = m.buyBox[i];
        }
        long landed = o.landed();
        int currency = o.has[0] ? o.currency[0] : o.currency[2];
        if (found >= 0 && m.role[i] == 2 && o.role == 2 && beforeCurrency == currency && beforePrice > 0 && landed > 0 && landed * 100 < beforePrice * 99) {
            m.loweredAt[i] = Math.max(m.loweredAt[i], o.observedAt);
        }
        m.at[i] = o.observedAt;
        m.role[i] = (byte) o.role;
        m.landed[i] = landed;
        m.priceIn[i] = currency;
        m.availability[i] = (byte) o.availability;
        m.buyBox[i] = (byte) o.buyBox;
        m.discounted[i] = (byte) (o.has[0] && o.has[3] && o.currency[0] == o.currency[3] ? o.micros[0] * 100 < o.micros[3] * 95 ? 2 : 1 : 0);
        if (o.hasRating) {
            double stars = o.rating / o.best * 5;
            if (stars >= 0 && stars <= 5) { m.rating[i] = Math.round(stars * 1e6); m.ratedAt[i] = o.observedAt; }
        }
        if (o.role == 1) {
            if (o.rank != Long.MAX_VALUE) m.rank = o.rank;
            if (o.hasReviews && o.reviews >= 0) m.reviews = o.reviews;
            m.ours = o.buyBox == 1 ? o.observedAt : Market.NEVER;
        } else if (o.buyBox == 1) m.theirs = o.observedAt;
        place = i;
        changedRole = o.role;
        nowPrice = landed;
        nowCurrency = currency;
        nowAvailability = o.availability;
        nowBox = o.buyBox;
    }

    /** Gives the figures, if one of them changed or the offer did. */
    private void give(Record<byte[], byte[]> record, boolean byEvent) {
        Market m = market;
        figures.of(m);
        long hash = figures.hash(m.currency);
        boolean says = hasChange && (entered || nowPrice != beforePrice || nowCurrency != beforeCurrency
            || nowAvailability != beforeAvailability || nowBox != beforeBox);
        if (m.hasGiven && m.given == hash && !says) { if (!says) hasChange = false; return; }
        m.hasGiven = true;
        m.given = hash;
        out.clear().frame(Avro.FEATURES);
        envelope(byEvent);
        out.text(m.product);
        if (m.currency == 0) out.number(0); else out.number(1).number(3).u8(m.currency >> 16).u8(m.currency >> 8).u8(m.currency);
        for (int i = 0; i < Figures.COUNT; i++) {
            if (figures.reason[i] == Figures.PRESENT) out.number(1).real(figures.value[i]); else out.number(0);
        }
        for (int i = 0; i < Figures.COUNT; i++) out.number(figures.reason[i]);
        if (hasChange) change(); else out.number(0);
        context.forward(record.withValue(out.copy()), FEATURES);
    }

    private void envelope(boolean byEvent) {
        Market m = market;
        out.text(causeIn, cause, causeLength).number(m.takenAt).text(m.customer).text(SOURCE).text(NOTHING);
        out.number(m.hasNow ? m.now : causedAt).number(0).number(0);
        if (byEvent) out.number(1).text(causeIn, cause, causeLength); else out.number(0);
    }

    private void change() {
        listing(out.number(1));
        if (offer.sellerLength < 0) out.number(0); else out.number(1).text(offer.bytes, offer.seller, offer.sellerLength);
        out.number(changedRole);
        money(nowPrice, nowCurrency);
        money(beforePrice, beforeCurrency);
        out.number(nowAvailability).number(beforeAvailability).number(nowBox).number(beforeBox).u8(entered ? 1 : 0);
    }

    private void listing(Avro.Out out) {
        Offer o = offer;
        out.number(o.sourceLength + o.marketLength + o.listingLength + 2);
        out.raw(o.bytes, o.source, o.sourceLength).u8(':').raw(o.bytes, o.market, o.marketLength).u8(':').raw(o.bytes, o.listing, o.listingLength);
    }

    private void money(long micros, int currency) {
        if (micros == 0) { out.number(0); return; }
        int exponent = 6;
        while (exponent > 2 && micros % 10 == 0) { micros /= 10; exponent--; }
        out.number(1).number(micros).number(3).u8(currency >> 16).u8(currency >> 8).u8(currency).number(exponent);
    }

    /** Where a competitor's price is below 95 % of the one before: once a day and seller, sooner where it is worse by 5. */
    private void alert(Record<byte[], byte[]> record) {
        Market m = market;
        if (changedRole != 2 || nowPrice == 0 || beforePrice == 0) return;
        double price = nowPrice / 1e6, before = beforePrice / 1e6;
        if (!(price < 0.95 * before)) return;
        double value = 100 * (before - price) / before;
        boolean isRested = m.firedAt[place] == Market.NEVER || m.now - m.firedAt[place] >= COOLDOWN;
        if (!isRested && !(value - m.firedValue[place] >= WORSE_BY)) return;
        m.firedAt[place] = m.now;
        m.firedValue[place] = value;
        String seller = offer.sellerLength < 0 ? "unknown" : new String(offer.bytes, offer.seller, offer.sellerLength);
        String message = String.format(Locale.ROOT, "%s lowered the price of %s by %.2f %% to %.2f", seller, new String(offer.bytes, offer.listing, offer.listingLength), value, price);
        out.clear().frame(Avro.ALERT);
        envelope(true);
        out.text(m.product).text(RULE).number(2).text(message.getBytes(java.nio.charset.StandardCharsets.UTF_8));
        if (offer.sellerLength < 0) out.number(0); else out.number(1).text(offer.bytes, offer.seller, offer.sellerLength);
        out.text(offer.bytes, offer.id, offer.idLength).number(1).real(value);
        out.number(2).text(PRICE).number(1).real(price).number(0).text(BEFORE).number(1).real(before).number(0).number(0);
        context.forward(record.withValue(out.copy()), ALERTS);
    }
}
