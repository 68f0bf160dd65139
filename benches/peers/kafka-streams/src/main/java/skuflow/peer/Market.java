package skuflow.peer;

import java.util.Arrays;

/** What is known of a product, in one value of the store; read again and again into the same object. */
final class Market {
    static final long DAY = 86_400_000_000L;
    private static final int OFFERS_MAX = 2048, DAYS_MAX = 30;
    private static final int NONE = Integer.MIN_VALUE;

    byte[] customer = {}, product = {};
    long now, takenAt, since, cost, given;
    boolean hasNow, hasEntry, hasSince, hasCost, hasGiven;
    long entryAt;
    /** In which prices are compared; 0 where that is not known. */
    int currency;

    /** Offers that stand, one per listing and seller. */
    int offers;
    final long[] id = new long[OFFERS_MAX], at = new long[OFFERS_MAX], landed = new long[OFFERS_MAX];
    final int[] priceIn = new int[OFFERS_MAX];
    final byte[] role = new byte[OFFERS_MAX], availability = new byte[OFFERS_MAX], buyBox = new byte[OFFERS_MAX];
    /** Whether it is below 95 % of the list price: 0 unknown, 1 no, 2 yes. */
    final byte[] discounted = new byte[OFFERS_MAX];
    final long[] ratedAt = new long[OFFERS_MAX], rating = new long[OFFERS_MAX];
    final long[] enteredAt = new long[OFFERS_MAX], loweredAt = new long[OFFERS_MAX], firedAt = new long[OFFERS_MAX];
    final double[] firedValue = new double[OFFERS_MAX];

    /** What only own offers say, of the last one. */
    long rank = -1, reviews = -1;
    /** When somebody was last said to hold the Buy Box; NEVER where nobody was. */
    static final long NEVER = Long.MIN_VALUE;
    long ours = NEVER, theirs = NEVER;
    /** Up to when the present day has been lived. */
    long livedTo;

    /** Days: the completed ones, the last of them the present one. */
    int days;
    final int[] day = new int[DAYS_MAX + 2];
    final double[] priceSum = new double[DAYS_MAX + 2];
    final long[] priceMicros = new long[DAYS_MAX + 2], priceLast = new long[DAYS_MAX + 2];
    final long[] boxLost = new long[DAYS_MAX + 2], boxKnown = new long[DAYS_MAX + 2];
    final long[] dayRating = new long[DAYS_MAX + 2], dayRank = new long[DAYS_MAX + 2];

    /** Figures of windows, made when a day is completed; NaN where too little is known. */
    double avg7, avg30, vol7, vol30, lost30;
    long ratingMax7, rankFirst7;

    private final Avro.In in = new Avro.In();
    private final Avro.Out out = new Avro.Out();

    void clear() {
        hasNow = hasEntry = hasSince = hasCost = hasGiven = false;
        now = takenAt = since = cost = given = entryAt = 0;
        currency = offers = days = 0;
        rank = reviews = -1;
        ours = theirs = NEVER;
        livedTo = 0;
        customer = product = new byte[0];
        windows();
    }

    void read(byte[] bytes) {
        if (bytes == null) {
            clear();
            return;
        }
        in.on(bytes);
        int flags = in.u8();
        hasNow = (flags & 1) != 0; hasEntry = (flags & 2) != 0; hasSince = (flags & 4) != 0; hasCost = (flags & 8) != 0; hasGiven = (flags & 16) != 0;
        in.text(); customer = Arrays.copyOfRange(bytes, in.text, in.text + in.length);
        in.text(); product = Arrays.copyOfRange(bytes, in.text, in.text + in.length);
        now = in.number(); takenAt = in.number(); since = in.number(); entryAt = in.number(); cost = in.number(); given = in.fixed();
        currency = (int) in.number();
        rank = in.number(); reviews = in.number(); ours = in.number(); theirs = in.number(); livedTo = in.number();
        offers = (int) in.number();
        for (int i = 0; i < offers; i++) {
            id[i] = in.fixed();
            at[i] = now - in.number();
            landed[i] = in.number();
            priceIn[i] = in.u8() == 1 ? currency : (int) in.number();
            int bits = in.u8();
            role[i] = (byte) (bits & 3);
            discounted[i] = (byte) (bits >> 2 & 3);
            availability[i] = (byte) in.u8();
            buyBox[i] = (byte) in.u8();
            rating[i] = (bits & 16) == 0 ? -1 : in.number();
            ratedAt[i] = (bits & 16) == 0 ? NEVER : at[i] - in.number();
            enteredAt[i] = (bits & 32) == 0 ? NEVER : in.number();
            loweredAt[i] = (bits & 64) == 0 ? NEVER : in.number();
            firedAt[i] = (bits & 128) == 0 ? NEVER : in.number();
            firedValue[i] = (bits & 128) == 0 ? 0 : in.real();
        }
        days = (int) in.number();
        for (int i = 0; i < days; i++) {
            day[i] = (int) in.number(); priceSum[i] = in.real(); priceMicros[i] = in.number(); priceLast[i] = in.number();
            boxLost[i] = in.number(); boxKnown[i] = in.number(); dayRating[i] = in.number(); dayRank[i] = in.number();
        }
        avg7 = in.real(); avg30 = in.real(); vol7 = in.real(); vol30 = in.real(); lost30 = in.real();
        ratingMax7 = in.number(); rankFirst7 = in.number();
    }

    byte[] write() {
        Avro.Out o = out.clear();
        o.u8((hasNow ? 1 : 0) | (hasEntry ? 2 : 0) | (hasSince ? 4 : 0) | (hasCost ? 8 : 0) | (hasGiven ? 16 : 0));
        o.text(customer).text(product);
        o.number(now).number(takenAt).number(since).number(entryAt).number(cost).fixed(given).number(currency);
        o.number(rank).number(reviews).number(ours).number(theirs).number(livedTo).number(offers);
        for (int i = 0; i < offers; i++) {
            o.fixed(id[i]).number(now - at[i]).number(landed[i]);
            if (priceIn[i] == currency) o.u8(1); else o.u8(0).number(priceIn[i]);
            boolean rated = rating[i] >= 0, entered = enteredAt[i] != NEVER, lowered = loweredAt[i] != NEVER, fired = firedAt[i] != NEVER;
            o.u8(role[i] | discounted[i] << 2 | (rated ? 16 : 0) | (entered ? 32 : 0) | (lowered ? 64 : 0) | (fired ? 128 : 0));
            o.u8(availability[i]).u8(buyBox[i]);
            if (rated) o.number(rating[i]).number(at[i] - ratedAt[i]);
            if (entered) o.number(enteredAt[i]);
            if (lowered) o.number(loweredAt[i]);
            if (fired) o.number(firedAt[i]).real(firedValue[i]);
        }
        o.number(days);
        for (int i = 0; i < days; i++) {
            o.number(day[i]).real(priceSum[i]).number(priceMicros[i]).number(priceLast[i]);
            o.number(boxLost[i]).number(boxKnown[i]).number(dayRating[i]).number(dayRank[i]);
        }
        o.real(avg7).real(avg30).real(vol7).real(vol30).real(lost30).number(ratingMax7).number(rankFirst7);
        return o.copy();
    }

    boolean canBeHad(int i) {
        return availability[i] != 8 && availability[i] != 9; // out of stock, discontinued
    }

    /** The number of the offer with this id, -1 where there is none. */
    int find(long wanted) {
        for (int i = 0; i < offers; i++) if (id[i] == wanted) return i;
        return -1;
    }

    int add(long added) {
        int i = offers;
        if (i == OFFERS_MAX) {
            int oldest = 0;
            for (int k = 1; k < offers; k++) if (at[k] < at[oldest]) oldest = k;
            drop(oldest);
            i = offers;
        }
        offers++;
        id[i] = added; rating[i] = -1; ratedAt[i] = enteredAt[i] = loweredAt[i] = firedAt[i] = NEVER; firedValue[i] = 0;
        return i;
    }

    private void drop(int i) {
        int rest = --offers - i;
        for (Object column : new Object[] {id, at, landed, priceIn, role, availability, buyBox, discounted, ratedAt, rating, enteredAt, loweredAt, firedAt, firedValue}) {
            System.arraycopy(column, i + 1, column, i, rest);
        }
    }

    /** Offers that were not seen for so long stand no more. */
    void expire(long active) {
        for (int i = offers - 1; i >= 0; i--) if (now - at[i] >= active) drop(i);
    }

    /** The lowest own price that can be had, 0 where there is none. */
    long ownPrice() {
        long lowest = 0;
        for (int i = 0; i < offers; i++) {
            if (role[i] == 1 && canBeHad(i) && landed[i] > 0 && priceIn[i] == currency && (lowest == 0 || landed[i] < lowest)) lowest = landed[i];
        }
        return lowest;
    }

    /** The mean of the own ratings, in millionths; -1 where there is none. */
    long ownRating() {
        long sum = 0, count = 0;
        for (int i = 0; i < offers; i++) if (role[i] == 1 && rating[i] >= 0) { sum += rating[i]; count++; }
        return count == 0 ? -1 : sum / count;
    }

    /** Lets time pass up to `to`, with all that is known staying as it is. */
    void live(long to) {
        if (livedTo == 0 || to <= livedTo) {
            livedTo = Math.max(livedTo, to);
            return;
        }
        long price = ownPrice();
        boolean known = ours != NEVER || theirs != NEVER;
        while (livedTo < to) {
            int today = (int) Math.floorDiv(livedTo, DAY);
            long end = Math.min(to, (today + 1) * DAY), micros = end - livedTo;
            int i = days - 1;
            if (i < 0 || day[i] != today) {
                i = days++;
                day[i] = today;
                priceSum[i] = 0;
                priceMicros[i] = priceLast[i] = boxLost[i] = boxKnown[i] = 0;
                dayRating[i] = dayRank[i] = -1;
            }
            if (price > 0) { priceSum[i] += (double) price * micros; priceMicros[i] += micros; priceLast[i] = price; }
            if (known) { boxKnown[i] += micros; if (theirs > ours) boxLost[i] += micros; }
            livedTo = end;
            if (end == (today + 1) * DAY) { dayRating[i] = ownRating(); dayRank[i] = rank; keep(today + 1); }
        }
    }

    /** Forgets days that no window of `today` reaches. */
    private void keep(int today) {
        int first = 0;
        while (first < days && day[first] < today - DAYS_MAX) first++;
        if (first == 0) return;
        days -= first;
        for (Object column : new Object[] {day, priceSum, priceMicros, priceLast, boxLost, boxKnown, dayRating, dayRank}) System.arraycopy(column, first, column, 0, days);
    }

    /** Makes the figures of windows, which end with the last completed day. */
    void windows() {
        int today = hasNow ? (int) Math.floorDiv(now, DAY) : NONE;
        avg7 = mean(today, 7); avg30 = mean(today, 30); vol7 = volatility(today, 7); vol30 = volatility(today, 30);
        long lost = 0, known = 0;
        ratingMax7 = rankFirst7 = -1;
        for (int i = 0; i < days; i++) {
            if (day[i] >= today) continue;
            if (day[i] >= today - 30) { lost += boxLost[i]; known += boxKnown[i]; }
            if (day[i] >= today - 7) { ratingMax7 = Math.max(ratingMax7, dayRating[i]); if (rankFirst7 < 0) rankFirst7 = dayRank[i]; }
        }
        lost30 = known > 0 ? (double) lost / known : Double.NaN;
    }

    private double mean(int today, int window) {
        double sum = 0;
        long micros = 0;
        for (int i = 0; i < days; i++) if (day[i] < today && day[i] >= today - window) { sum += priceSum[i]; micros += priceMicros[i]; }
        return micros > 0 ? sum / micros / 1e6 : Double.NaN;
    }

    private double volatility(int today, int window) {
        double sum = 0, squares = 0, last = 0;
        int prices = 0;
        double[] changes = new double[window];
        for (int i = 0; i < days; i++) {
            if (day[i] >= today || day[i] < today - window || priceLast[i] <= 0) continue;
            double log = Math.log(priceLast[i]);
            if (prices++ > 0) { changes[prices - 2] = log - last; sum += log - last; }
            last = log;
        }
        if (prices < 3) return Double.NaN;
        double mean = sum / (prices - 1);
        for (int i = 0; i < prices - 1; i++) squares += (changes[i] - mean) * (changes[i] - mean);
        return Figures.roundLog(Math.sqrt(squares / (prices - 2)));
    }
}
