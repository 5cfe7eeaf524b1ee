// One of the bench's workers: collections, strings and a little garbage in one busy thread.
// Says "ready" on stdout, then runs until it is killed.
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

public class Busy {
    record Order(int id, String customer, long cents) {}

    static List<Order> makeOrders(int count, long seed) {
        List<Order> orders = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            seed = seed * 6364136223846793005L + 1442695040888963407L;
            orders.add(new Order(i, "customer-" + Math.floorMod(seed >> 33, 97), Math.floorMod(seed >> 20, 10000)));
        }
        return orders;
    }

    static Map<String, Long> sumByCustomer(List<Order> orders) {
        return orders.stream().collect(Collectors.groupingBy(Order::customer, HashMap::new, Collectors.summingLong(Order::cents)));
    }

    static long sortedSum(Map<String, Long> sums) {
        List<Long> values = new ArrayList<>(sums.values());
        Collections.sort(values);
        return values.get(values.size() / 2);
    }

    static long sieve(int limit) {
        boolean[] composite = new boolean[limit];
        long count = 0;
        for (int i = 2; i < limit; i++) {
            if (composite[i]) continue;
            count++;
            for (int multiple = 2 * i; multiple < limit; multiple += i) composite[multiple] = true;
        }
        return count;
    }

    public static void main(String[] arguments) {
        long total = 0;
        for (long round = 0; ; round++) {
            total += sortedSum(sumByCustomer(makeOrders(2000, round))) + sieve(20000);
            if (round == 200) {
                System.out.println("ready " + total % 10);
                System.out.flush();
            }
        }
    }
}
