// Java methods that are compiled while they run, one calling the other.
// usage: java JavaBurn
final class JavaBurn {
    private static long innermost(long value) {
        for (int step = 0; step < 200_000; step++) {
            value ^= value << 13;
            value ^= value >>> 7;
            value ^= value << 17;
        }
        return value;
    }

    private static long middle(int depth, long value) {
        return depth == 0 ? innermost(value | 1) : middle(depth - 1, value) + 1;
    }

    public static void main(String[] arguments) {
        long value = 1;
        // Until both are compiled: what is measured is the steady state.
        for (int round = 0; round < 2_000; round++) {
            value = middle(20, value);
        }
        System.out.println("ready");
        while (true) {
            value = middle(20, value);
        }
    }
}
