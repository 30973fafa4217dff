package muster

import (
	"crypto/rand"
	"encoding/hex"
	mathrand "math/rand/v2"
	"regexp"
	"strings"
)

// MaxName is the longest name, in bytes.
const MaxName = 64

var (
	nameRE      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	nodePoolRE  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	sizeNameRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	sha256RE    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	nameUnfitRE = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
)

// CheckName refuses what is not a name: 1 to 64 of [A-Za-z0-9_-], the first a
// letter or digit. NAME[17] and NAME[1-9] are kept for members of arrays. The
// noun stands in the error.
func CheckName(noun, name string) error {
	if nameRE.MatchString(name) {
		return nil
	}
	cure := "use 1 to 64 of letters, digits, '_' and '-', and begin with a letter or digit"
	if fit := FitName(name); fit != "" {
		cure += ", such as " + fit
	}
	return Errorf(CodeInvalid, "%q is not a name for %s", name, article(noun)).At("name").WithCure("%s", cure)
}

// CheckNodePool refuses what Nomad would refuse as a node pool's name.
func CheckNodePool(pool string) error {
	if nodePoolRE.MatchString(pool) {
		return nil
	}
	return Errorf(CodeInvalid, "%q is not a name of a Nomad node pool", pool).At("node_pool").
		WithCure("use 1 to 128 of letters, digits, '_' and '-'")
}

// CheckSHA256 refuses what is not a SHA-256 in hex.
func CheckSHA256(sum string) error {
	if sha256RE.MatchString(sum) {
		return nil
	}
	return Errorf(CodeInvalid, "%q is not a SHA-256 in hex", sum).At("sha256")
}

// FitName turns s into the nearest name, or "" where nothing is left of it.
func FitName(s string) string {
	s = strings.Trim(nameUnfitRE.ReplaceAllString(s, "-"), "-_")
	return s[:min(len(s), MaxName)]
}

// article puts "a" or "an" before a noun.
func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// adjectives and animals make the readable part of a generated name.
var (
	adjectives = strings.Fields(`able amber bold brave brisk calm clear clever coral crisp eager early fair fleet
		gentle glad golden green happy hardy jolly keen kind lively lucky mellow merry mild neat noble patient
		plucky proud quick quiet ready robust royal sharp shy silver smart snowy solid steady sunny swift tidy
		vivid warm wise witty`)
	animals = strings.Fields(`ant badger bear beaver bee bison crane crow deer dove duck eagle falcon ferret finch
		fox gecko goose hare hawk heron ibex jay kite koala lark lemur lion lynx marten mole moose newt otter owl
		panda puffin quail raven robin seal shrew snail stork swan tapir tern tiger trout viper vole wasp wolf
		wren yak zebra`)
)

// GenerateName makes a readable name that is very probably new, such as
// brave-otter-3f2a1c.
func GenerateName() string {
	return pick(adjectives) + "-" + pick(animals) + "-" + RandomID(3)
}

// pick returns a random one of words.
func pick(words []string) string { return words[mathrand.IntN(len(words))] }

// RandomID returns n random bytes in hex.
func RandomID(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b)
}

// Nearest returns the candidate closest to word by edit distance, or "" where
// none is near enough to be meant.
func Nearest(word string, candidates []string) string {
	best, limit := "", max(2, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
