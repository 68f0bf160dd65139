package skuflow.peer;

import java.util.Arrays;
import java.util.Currency;

/** The currencies of ISO 4217. */
final class Currencies {
    private static final int[] KNOWN = Currency.getAvailableCurrencies().stream()
        .mapToInt(currency -> code(Avro.ascii(currency.getCurrencyCode()), 0)).sorted().toArray();

    private Currencies() {}

    static int code(byte[] bytes, int at) {
        return (bytes[at] & 255) << 16 | (bytes[at + 1] & 255) << 8 | (bytes[at + 2] & 255);
    }

    static boolean isKnown(int code) {
        return Arrays.binarySearch(KNOWN, code) >= 0;
    }
}
