package skuflow.peer;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Avro's binary encoding in Confluent's framing, by hand: no object per field. */
final class Avro {
    /** Ids of skuflow's schemas, see schemas/src/codec.rs. */
    static final int OFFER = 7, FEATURES = 8, ALERT = 9, CATALOG = 10, LISTING = 11;

    private Avro() {}

    static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    /** Bytes that grow. */
    static final class Out {
        byte[] bytes = new byte[4096];
        int length;

        Out clear() {
            length = 0;
            return this;
        }

        private void reserve(int more) {
            if (length + more > bytes.length) bytes = Arrays.copyOf(bytes, Math.max(2 * bytes.length, length + more));
        }

        Out frame(int schema) {
            reserve(5);
            bytes[length++] = 0;
            for (int shift = 24; shift >= 0; shift -= 8) bytes[length++] = (byte) (schema >>> shift);
            return this;
        }

        Out u8(int value) {
            reserve(1);
            bytes[length++] = (byte) value;
            return this;
        }

        Out number(long value) {
            reserve(10);
            long rest = (value << 1) ^ (value >> 63);
            while ((rest & ~0x7fL) != 0) {
                bytes[length++] = (byte) (rest | 0x80);
                rest >>>= 7;
            }
            bytes[length++] = (byte) rest;
            return this;
        }

        Out fixed(long value) {
            reserve(8);
            for (int shift = 0; shift < 64; shift += 8) bytes[length++] = (byte) (value >>> shift);
            return this;
        }

        Out real(double value) {
            return fixed(Double.doubleToRawLongBits(value));
        }

        Out raw(byte[] from, int at, int count) {
            reserve(count);
            System.arraycopy(from, at, bytes, length, count);
            length += count;
            return this;
        }

        Out text(byte[] from, int at, int count) {
            return number(count).raw(from, at, count);
        }

        Out text(byte[] text) {
            return text(text, 0, text.length);
        }

        byte[] copy() {
            return Arrays.copyOf(bytes, length);
        }
    }

    /** A place in bytes. What does not fit ends in a RuntimeException. */
    static final class In {
        byte[] bytes;
        int at;
        /** Of the last text that was read. */
        int text, length;

        In on(byte[] from) {
            bytes = from;
            at = 0;
            return this;
        }

        In frame(int schema) {
            int id = (bytes[1] & 255) << 24 | (bytes[2] & 255) << 16 | (bytes[3] & 255) << 8 | (bytes[4] & 255);
            if (bytes[0] != 0 || id != schema) throw new IllegalArgumentException("schema " + id);
            at = 5;
            return this;
        }

        int u8() {
            return bytes[at++] & 255;
        }

        long number() {
            long value = 0;
            for (int shift = 0; ; shift += 7) {
                int next = bytes[at++];
                value |= (next & 0x7fL) << shift;
                if (next >= 0) return (value >>> 1) ^ -(value & 1);
                if (shift > 56) throw new IllegalArgumentException("number");
            }
        }

        long fixed() {
            long value = 0;
            for (int shift = 0; shift < 64; shift += 8) value |= (bytes[at++] & 255L) << shift;
            return value;
        }

        double real() {
            return Double.longBitsToDouble(fixed());
        }

        void text() {
            length = (int) number();
            text = at;
            at += length;
            if (length < 0 || at > bytes.length) throw new IllegalArgumentException("text");
        }

        /** Whether an optional field is there. */
        boolean some() {
            long branch = number();
            if (branch < 0 || branch > 1) throw new IllegalArgumentException("union");
            return branch == 1;
        }

        boolean someText() {
            boolean is = some();
            if (is) text();
            return is;
        }

        /** How many items come next of an array; 0 at its end. */
        long items() {
            long count = number();
            if (count < 0) {
                number(); // bytes of the block
                count = -count;
            }
            return count;
        }

        String string() {
            return new String(bytes, text, length, StandardCharsets.UTF_8);
        }
    }

    /** FNV-1a over a stretch of bytes, mixed at the end. */
    static long hash(long seed, byte[] bytes, int at, int end) {
        long hash = 0xcbf29ce484222325L ^ seed;
        for (int i = at; i < end; i++) hash = (hash ^ bytes[i]) * 0x100000001b3L;
        return mix(hash);
    }

    static long mix(long hash) {
        hash = (hash ^ hash >>> 30) * 0xbf58476d1ce4e5b9L;
        hash = (hash ^ hash >>> 27) * 0x94d049bb133111ebL;
        return hash ^ hash >>> 31;
    }
}
