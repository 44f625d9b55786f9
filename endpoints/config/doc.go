// Package config is the configuration of a node: one TOML file, read strictly,
// and the typed [Config] made of it.
//
// [Load] is what a daemon calls. It reads the file, fills in the defaults,
// checks everything and reads the private key. Whatever is wrong is reported at
// once, as [Errors]: one [Problem] each, with file, line, and for a misspelt
// field the nearest right name. A node that is configured by a program (the
// lab, a test) fills in a Config by hand and calls [Config.SetDefaults] and
// [Config.Validate] itself.
//
// How a file becomes a Config:
//
//  1. BurntSushi/toml parses the text into maps. A syntax error ends here, alone:
//     what follows it cannot be trusted.
//  2. lines.go notes the line of every key, which the library does not tell.
//  3. decode.go and fields.go read the maps into a Config, field by field,
//     and report wrong types, wrong words and fields nobody asked for.
//  4. defaults.go fills in what was left out.
//  5. validate.go checks the values against each other. What it finds is placed
//     on a line by the field's path ("uplink[1].max_up"), and left out where
//     step 3 has already complained about that field.
//
// Nothing here starts a goroutine, and a Config is not changed after Load:
// it may be read from anywhere.
//
// Known weakness: addresses are checked for form only. Whether a name resolves
// and an interface exists is known to the running daemon, which waits for both.
package config
