package skuflow.peer;

import java.util.Arrays;

/** The 43 figures of skuflow's `features`, from what offers and the catalog say; null those of sales, stock and other sources. */
final class Figures {
    static final int COUNT = 43;
    /** Why a figure is null, by its place in the schema. */
    static final byte PRESENT = 1, NO_SOURCE = 2, NO_CATALOG = 3, NO_OWN_OFFER = 4, NO_COMPETITOR = 5, OTHER_CURRENCY = 6,
        NOT_OBSERVED = 7, TOO_SHORT = 8, NO_SALES = 9, NOT_STATED = 10;

    final double[] value = new double[COUNT];
    final byte[] reason = new byte[COUNT];
    private final long[] prices = new long[2048];

    static double roundLog(double value) {
        return Math.round(value * 1e9) / 1e9;
    }

    private void put(int figure, double is) {
        value[figure] = is;
        reason[figure] = PRESENT;
    }

    private void none(int figure, byte why) {
        value[figure] = 0;
        reason[figure] = why;
    }

    private void known(int figure, double is, byte why) {
        if (Double.isNaN(is)) none(figure, why); else put(figure, is);
    }

    void of(Market m) {
        for (int figure : new int[] {25, 26, 29, 33, 34, 35, 36}) none(figure, NO_SOURCE);
        for (int figure : new int[] {21, 22, 23, 24, 27, 28}) none(figure, NO_SALES);
        none(11, NOT_OBSERVED);
        none(12, NOT_OBSERVED);
        own(m);
        competitors(m);
        both(m);
    }

    private void own(Market m) {
        long price = m.ownPrice();
        if (price > 0) { put(0, price / 1e6); none(1, NOT_STATED); }
        else { byte why = noPrice(m, 1, NO_OWN_OFFER); none(0, why); none(1, why); }
        known(2, m.avg7, TOO_SHORT);
        known(3, m.avg30, TOO_SHORT);
        known(4, m.vol7, TOO_SHORT);
        known(5, m.vol30, TOO_SHORT);
        long rating = m.ownRating();
        if (rating >= 0) put(6, rating / 1e6); else none(6, NOT_OBSERVED);
        if (rating < 0) none(7, NOT_OBSERVED); else if (m.ratingMax7 < 0) none(7, TOO_SHORT); else put(7, rating / 1e6 - m.ratingMax7 / 1e6);
        if (m.reviews >= 0) put(8, m.reviews); else none(8, NOT_OBSERVED);
        if (m.rank >= 0) put(9, m.rank); else none(9, NOT_OBSERVED);
        if (m.rank < 0) none(10, NOT_OBSERVED); else if (m.rankFirst7 < 0) none(10, TOO_SHORT); else put(10, (double) m.rank / m.rankFirst7 - 1);
        if (!m.hasEntry) none(13, NO_CATALOG); else if (!m.hasCost) none(13, NOT_STATED); else if (price <= 0) none(13, reason[0]); else put(13, (double) (price - m.cost) / price);
        none(14, NOT_OBSERVED);
        for (int i = 0; i < m.offers; i++) if (m.role[i] == 1 && m.buyBox[i] != 0) put(14, m.buyBox[i] == 1 ? 1 : Math.max(value[14], 0));
    }

    /** Why no offer of this role has a price that can be compared. */
    private static byte noPrice(Market m, int role, byte nobody) {
        byte why = nobody;
        for (int i = 0; i < m.offers; i++) {
            if (m.role[i] != role || !m.canBeHad(i)) continue;
            if (m.currency != 0 && m.landed[i] > 0 && m.priceIn[i] != m.currency) return OTHER_CURRENCY;
            why = NOT_STATED;
        }
        return why;
    }

    private void competitors(Market m) {
        if (!m.hasEntry) {
            for (int figure : new int[] {15, 16, 17, 18, 19, 20, 30, 31, 32}) none(figure, NO_CATALOG);
            return;
        }
        int count = 0, active = 0, all = 0, stated = 0, discounted = 0, said = 0, out = 0, lowered = 0, entered = 0;
        long ratedAt = Market.NEVER, rating = -1;
        for (int i = 0; i < m.offers; i++) {
            if (m.loweredAt[i] != Market.NEVER && m.now - m.loweredAt[i] < Market.DAY) lowered++;
            if (m.enteredAt[i] != Market.NEVER && m.now - m.enteredAt[i] < 30 * Market.DAY) entered++;
            if (m.role[i] != 2) continue;
            all++;
            if (m.discounted[i] != 0) { stated++; if (m.discounted[i] == 2) discounted++; }
            if (m.availability[i] != 0) { said++; if (m.availability[i] == 8) out++; }
            if (m.rating[i] >= 0 && (m.ratedAt[i] > ratedAt || m.ratedAt[i] == ratedAt && m.rating[i] > rating)) { ratedAt = m.ratedAt[i]; rating = m.rating[i]; }
            if (!m.canBeHad(i)) continue;
            active++;
            if (m.landed[i] > 0 && m.priceIn[i] == m.currency) prices[count++] = m.landed[i];
        }
        if (count > 0) {
            Arrays.sort(prices, 0, count);
            put(15, prices[0] / 1e6);
            put(16, (prices[(count - 1) / 2] + prices[count / 2]) / 2e6);
        } else {
            byte why = noPrice(m, 2, NO_COMPETITOR);
            none(15, why);
            none(16, why);
        }
        put(17, active);
        put(18, lowered);
        known(19, m.lost30, NOT_OBSERVED);
        if (rating >= 0) put(20, rating / 1e6); else none(20, NOT_OBSERVED);
        if (all == 0) none(30, NO_COMPETITOR); else if (stated == 0) none(30, NOT_STATED); else put(30, (double) discounted / all);
        put(31, entered);
        if (all == 0) none(32, NO_COMPETITOR); else if (said == 0) none(32, NOT_OBSERVED); else put(32, (double) out / said);
    }

    private void both(Market m) {
        byte why = reason[0] != PRESENT ? reason[0] : reason[15];
        if (why == PRESENT) {
            long price = m.ownPrice(), twice = Math.round(value[16] * 2e6);
            put(37, (price - Math.round(value[15] * 1e6)) / 1e6);
            put(38, (2 * price) / (double) twice);
            put(39, Math.max(0, Math.min(100, (2 - value[38]) * 50)));
        } else for (int figure = 37; figure <= 39; figure++) none(figure, why);
        if (reason[6] == PRESENT) put(40, value[6] / 5 * 100); else none(40, reason[6]);
        if (reason[9] == PRESENT) put(41, roundLog(Math.max(0, Math.min(100, 100 - 20 * Math.log10(value[9]))))); else none(41, reason[9]);
        double sum = 0;
        int count = 0;
        for (int figure = 39; figure <= 41; figure++) if (reason[figure] == PRESENT) { sum += value[figure]; count++; }
        if (count == 0) none(42, reason[39]); else put(42, sum / count);
    }

    long hash(int currency) {
        long hash = 0xcbf29ce484222325L ^ currency;
        for (int i = 0; i < COUNT; i++) hash = (hash ^ Double.doubleToRawLongBits(value[i]) ^ (long) reason[i] << 56) * 0x100000001b3L + (hash >>> 29);
        return Avro.mix(hash);
    }
}
