// build: -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls
// A method of a class template in a namespace: its name is only readable when it was demangled.
// usage: cpp_names [CPU_MILLISECONDS]
#include "burn.h"

namespace furnace {

template <typename Fuel>
class Stove {
public:
    NOINLINE void burn_fuel(Fuel amount) { burn_steps(amount * UNIT_STEPS); }
};

}  // namespace furnace

int main(int argc, char **argv) {
    furnace::Stove<unsigned long> stove;
    REPEAT(argc, argv, stove.burn_fuel(4));
    return 0;
}
