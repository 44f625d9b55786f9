// Package meter counts what uplinks carry in a month, from the kernel's counters of their interfaces, and keeps the sums in a file.
//
// A Book is a value with an owner who calls it with the wall clock: Count at every look at the kernel, Used for the sum, Save now and
// then and at the end. There is no goroutine and no lock.
//
// # Periods
//
// A period begins at midnight, local time, of a day of the month; in months that do not have the day, of their last. A clock before
// 2025 is not believed (a box without a battery boots in 1970): the count goes on in the period it was in. A clock that went back
// starts no new period either.
//
// # Counters
//
// The kernel counts per interface and from zero when the interface is made anew. A sum goes on from a reading of the same interface
// (number and boot) if that is not above the new one; otherwise all of the new reading counts. So traffic while bondd
// did not run counts too, and a modem that was replugged counts from its beginning.
//
// # The file
//
// JSON, written to a second file and renamed, so that a crash leaves the old or the new one. A file that cannot be understood is put
// aside (its name with ".damaged") and the count begins at zero: the owner is told.
//
// # Known weaknesses
//
// What was counted since the last Save is lost in a crash, but not the traffic: it is in the kernel's counters, unless the machine went
// down too. A bill may count otherwise than the kernel does (by cells, by started kilobytes).
package meter
