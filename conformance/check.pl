#!/usr/bin/perl
# Checks vectors without dreamcatcherd: canonical JSON, fingerprints and content ids.
# Usage: perl check.pl DIR. Needs Perl 5.14 or newer and its core modules, which every Debian has.
use strict; use warnings;
use Digest::SHA qw(sha1_hex sha256_hex); use Encode qw(encode decode FB_CROAK); use File::Find; use JSON::PP;
use MIME::Base64; use POSIX qw(strtod);
our ($src, $ascii, $exact, @refs);  # the text, and at pos($src) the place; two other encodings; *_ref fields in order
my %short = ("\b" => 'b', "\f" => 'f', "\n" => 'n', "\r" => 'r', "\t" => 't', '"' => '"', '\\' => '\\');
my %long = ((reverse %short), '/' => '/');
sub bytes { ref $_[0] ? decode_base64($_[0]{base64}) : encode('UTF-8', $_[0]) }
sub blob_id { sha1_hex('blob ' . length($_[0]) . "\0$_[0]") }
sub number {
    my ($sign, $int, $frac, $exp) = $_[0] =~ /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/;
    if ($_[0] !~ /[.eE]/) { die 'too long' if length $_[0] > 4300; return $_[0] eq '-0' ? '0' : $_[0] }
    my ($digits, $point) = ($int . ($frac // ''), length($int) + ($exp // 0));
    unless ($exact) {  # the fewest digits that give the same double
        my $double = strtod($_[0]); die 'too large' if abs $double == 9**9**9; return "${sign}0.0" if $double == 0;
        my ($few) = grep { strtod($_) == abs $double } map { sprintf "%.${_}e", abs $double } 0 .. 16;
        $few =~ /^(\d)\.?(\d*)e(.+)$/; ($digits, $point) = ("$1$2", $3 + 1); $digits =~ s/(?<=\d)0+$//;
        if ($point > 16 || $point < ($ascii ? -3 : -4)) { $digits =~ s/^(.)(.+)/$1.$2/;
            return "$sign${digits}e" . ($ascii ? sprintf '%+03d', $point - 1 : $point - 1) } }
    $digits .= '0' x ($point - length $digits) if $point > length $digits;
    my $part = $point > 0 ? substr $digits, $point : '0' x -$point . $digits;
    return $sign . ($point > 0 ? substr $digits, 0, $point : 0) . ($part ne '' ? ".$part" : $exact ? '' : '.0') }
sub quoted { my $s = shift; $s =~ s/(["\\\x00-\x1f])/$short{$1} ? "\\$short{$1}" : sprintf '\\u%04x', ord $1/ge;
    $s =~ s/([^\x00-\x7e])/join '', map { sprintf '\\u%04x', $_ } unpack 'n*', encode('UTF-16BE', $1)/ge if $ascii;
    return qq("$s") }
sub string { my $s = ''; until ($src =~ /\G"/gc) {
    if ($src =~ /\G([^"\\\x00-\x1f]+)/gc) { $s .= $1 } elsif ($src =~ /\G\\(["\\\/bfnrt])/gc) { $s .= $long{$1} }
    elsif ($src =~ /\G\\u(d[89ab]..)\\u(d[c-f]..)/gci) { $s .= decode('UTF-16BE', pack 'nn', hex $1, hex $2) }
    elsif ($src =~ /\G\\u((?!d[89a-f])[0-9a-f]{4})/gci) { $s .= chr hex $1 } else { die 'bad string' } } return $s }
sub value { my ($depth, $out) = (@_, 0); $src =~ /\G[ \t\n\r]+/gc;
    if ($src =~ /\G"/gc) { $out = quoted(string()) } elsif ($src =~ /\G(true|false|null)/gc) { $out = $1 }
    elsif ($src =~ /\G(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?)/gca) { $out = number("$1") }
    elsif ($src =~ /\G([[{])/gc) { my ($end, @items, %named) = $1 eq '[' ? ']' : '}'; $src =~ /\G[ \t\n\r]+/gc;
        until ($src =~ /\G\Q$end\E/gc) { if (@items || %named) { $src =~ /\G,/gc or die 'no comma' }
            if ($end eq ']') { push @items, value($depth + 1); next }
            $src =~ /\G[ \t\n\r]*"/gc or die 'no name'; my $name = string(); $src =~ /\G[ \t\n\r]*:/gc or die 'no :';
            $named{$name} = value($depth + 1); push @refs, $named{$name} if $name =~ /._ref$/ && $named{$name} =~ /^"/ }
        delete @named{qw(fingerprint exportedAt)} if $ascii && !$depth;
        my $members = join ',', map { quoted($_) . ":$named{$_}" } sort keys %named;
        $out = $end eq ']' ? '[' . join(',', @items) . ']' : "{$members}" } else { die 'no value' }
    $src =~ /\G[ \t\n\r]+/gc; return $out }
sub canonical { my $raw = shift; $src = decode('UTF-8', $raw, FB_CROAK); @refs = (); pos($src) = 0; my $out = value(0);
    die 'more' if (pos($src) // 0) < length $src; return $out }
my %check = ('canonical-json' => sub { $exact = $_[0]{exact}; +{ canonical => canonical(bytes($_[0]{json})) } },
    'fingerprint' => sub { $ascii = 1; +{ fingerprint => substr sha256_hex(canonical(bytes($_[0]{object}))), 0, 16 } },
    'content-id' => sub { my ($given, %seen, @found, @gone) = @_; my $raw = bytes($given->{delta}); canonical($raw);
        for my $name (grep { !$seen{$_}++ } map { $src = $_; pos($src) = 1; string() } @refs) {
            my @places = map { "state/stream_deltas/1/$_$name" } $name =~ /\.json$/ ? () : ('d/', '');
            my ($file) = grep { defined } map { $given->{files}{$_} } @places;
            my $is_text = defined $file && eval { decode('UTF-8', bytes($file), FB_CROAK); 1 };
            push @{$is_text ? \@found : \@gone}, $is_text ? $file : $name }
        my ($blob, @ids) = map { blob_id($_) } $raw, map { bytes($_) } @found;
        +{ blob => $blob, content_id => @ids ? sha1_hex(map { "$_\n" } $blob, @ids) : $blob, unresolved => \@gone } });
my ($json, $passed, $failed, $skipped, @files) = (JSON::PP->new->canonical->ascii, 0, 0, 0);
find({ wanted => sub { push @files, $_ if /\.json$/ }, no_chdir => 1 }, shift // '.');
for my $path (sort @files) { open my $in, '<', $path or die "$path: $!\n"; local $/; my $file = decode_json(<$in>);
    for my $case (@{$file->{cases}}) {
        my $run = $check{$file->{kind}} or $skipped++, next; ($ascii, $exact) = (0, 0);
        my @both = map { $json->encode($_) } $case->{expect}, eval { $run->($case) } // { refused => JSON::PP::true };
        if ($both[0] eq $both[1]) { $passed++ } else { $failed++; print join "\n  ", "$path: $case->{name}", "@both\n" } } }
print "$passed cases passed, $failed failed, $skipped of other kinds\n"; exit($failed ? 1 : 0);
