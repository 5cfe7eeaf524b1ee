<?php
// PHP functions that call one another, a sort with a callback below them.
// usage: php php_burn.php
function innermost()
{
    $numbers = array_map(fn ($number) => $number * 7 % 101, range(1, 200));
    usort($numbers, fn ($left, $right) => $right <=> $left);
    return array_sum($numbers);
}

function middle($depth)
{
    return $depth ? middle($depth - 1) : innermost();
}

echo "ready\n";
while (true) {
    middle(20);
}
