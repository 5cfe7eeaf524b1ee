# Ruby methods and blocks that call one another.
# usage: ruby rb_burn.rb
$stdout.sync = true

def innermost
  (1..200).map { |number| number * 7 % 101 }.sort_by { |number| -number }.sum
end

def middle(depth)
  depth.zero? ? innermost : middle(depth - 1)
end

puts 'ready'
loop { middle(20) }
