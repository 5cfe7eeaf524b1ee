# Perl subroutines that call one another, a sort and a match below them.
# usage: perl pl_burn.pl
use strict;
use warnings;
$| = 1;

sub innermost {
    my @sorted = sort { $b <=> $a } map { $_ * 7 % 101 } 1 .. 200;
    my $matches = grep { "$_" =~ /^1.*[05]$/ } @sorted;
    return $matches;
}

sub middle {
    my ($depth) = @_;
    return $depth ? middle( $depth - 1 ) : innermost();
}

print "ready\n";
middle(20) while 1;
