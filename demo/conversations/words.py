"""The words that the demo knows: some nine hundred, by what they are."""

from typing import Final

ANIMALS: Final = (
    "ant bat bear bee bird camel cat chicken cow crab deer dog dolphin donkey dragon duck eagle elephant "
    "fish fly fox frog goat goose hamster hen horse kitten lamb lion lizard monkey mouse owl panda parrot "
    "penguin pig pony puppy rabbit rat shark sheep snail snake spider swan tiger turkey turtle whale wolf "
    "worm zebra"
).split()
THINGS: Final = (
    "apple arm bag ball banana basket bed bell belt bench bike blanket boat book boot bottle bowl box "
    "bread bridge brush bucket bus button cake camera candle cap car card carpet chair cheese chocolate "
    "clock cloth coat coffee coin comb computer cookie cup curtain desk dish doll door dress drum egg "
    "engine eye face fence finger fire flag flower fork garden gate gift glass glove grape grass guitar "
    "hammer hand hat head heart honey house jacket jar juice key kitchen kite knife ladder lamp leaf leg "
    "lemon letter light lock map milk mirror money moon mountain nail needle newspaper nose nut onion "
    "orange oven paint paper park pasta peach pear pen pencil pepper phone piano picture pillow pin pipe "
    "plane plant plate pocket pot potato purse radio rain rice ring river road robot rock roof room rope "
    "rose rug salad salt sand scarf school sea seed shelf ship shirt shoe shop shovel sink skirt sky snow "
    "soap sock sofa soup spoon stairs stamp star stick stone storm stove street string sugar suit sun "
    "table tea tent ticket tie toast toe tooth towel tower town toy train tray tree truck umbrella vase "
    "violin wall watch water wheel whistle wind window wire wood yard"
).split()
PLACES: Final = (
    "airport bank bathroom beach castle church city corner factory farm field forest hall harbor hill "
    "hospital hotel island lake library market museum office palace restaurant station stadium theater "
    "university valley village zoo"
).split()
PEOPLE: Final = (
    "actor artist aunt baby baker boy brother captain child cook cousin dancer daughter doctor driver "
    "farmer father friend girl grandfather grandmother guest judge king lady lawyer man mother neighbor "
    "nurse officer painter pilot police poet prince princess queen sailor singer sister soldier son "
    "student teacher uncle waiter woman worker writer"
).split()
ADJECTIVES: Final = (
    "angry bad beautiful big bitter brave bright broken busy calm careful cheap clean clear clever cold "
    "cool crazy curious dark dear deep dirty dry early easy empty expensive fair famous fast fat fine "
    "flat free fresh friendly full funny gentle giant glad golden good great handsome happy hard heavy "
    "high hot huge hungry important kind large late lazy light little lonely long loud lovely lucky "
    "narrow near new nice noisy old open perfect plain pleasant polite poor pretty proud quick quiet rare "
    "ready rich right round sad safe salty sharp short shy sick silent silly simple sleepy slow small "
    "smart smooth soft sour special steep strange strong sunny sweet tall tasty thick thin tiny tired "
    "true ugly warm weak wet white wide wild wise wonderful wooden wrong young"
).split()
VERBS: Final = (
    "asks bakes begins bites blows boils breaks brings builds burns buys calls carries catches changes "
    "chases cleans climbs closes comes cooks counts covers crosses cries cuts dances digs draws dreams "
    "drinks drives drops eats enters falls feels fights fills finds finishes flies follows forgets gives "
    "goes grows hangs hears helps hides hits holds hopes hurts jumps keeps kicks knows laughs learns "
    "leaves lifts likes listens lives looks loses loves makes meets misses moves needs opens paints "
    "passes pays picks plays pulls pushes puts reads remembers repeats rests rides rings rises runs sails "
    "says sees sells sends shakes shares shines shows sings sits sleeps smells smiles speaks stands "
    "starts stays steals stops studies swims takes talks teaches tells thinks throws touches travels "
    "turns uses visits waits wakes walks wants washes watches wears wins wishes works writes"
).split()
ADVERBS: Final = (
    "again almost alone already always away badly carefully downstairs early easily everywhere finally "
    "gently happily here inside late loudly maybe never now often once outside perhaps quickly quietly "
    "really sadly sometimes soon still suddenly there today together tomorrow tonight twice upstairs "
    "usually well yesterday"
).split()
FUNCTION_WORDS: Final = (
    "a about above across after against all along an and another any are around as at because before "
    "behind below beside between both but by can could did do does down during each either enough every "
    "few for from had has have he her his how i if in into is it its just many may more most much must my "
    "near no not of off on one only or other our out over quite same she should since so some such than "
    "that the their them then these they this those through to too toward two under until up upon very "
    "was we were what when where which while who why will with without would yes you your"
).split()
COLORS: Final = "red green blue yellow orange purple black white brown pink gray".split()
SHAPES: Final = "circle square triangle star cross diamond heart".split()
DAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS: Final = (
    "January February March April May June July August September October November December".split()
)
NAMES: Final = (
    "Anna Ben Carla David Emma Frank Grace Henry Ivy Jack Kate Leo Maria Nick Olivia Paul Rosa Sam Tom"
).split()
WEATHER: Final = "cloudy cold dry foggy hot rainy snowy sunny warm windy".split()
DIRECTIONS: Final = {"left": "to the left", "right": "to the right", "up": "up", "down": "down"}

OPPOSITES: Final = {
    one: other
    for first, second in (
        ("big", "small"),
        ("hot", "cold"),
        ("fast", "slow"),
        ("happy", "sad"),
        ("high", "low"),
        ("old", "young"),
        ("open", "closed"),
        ("rich", "poor"),
        ("strong", "weak"),
        ("wet", "dry"),
        ("early", "late"),
        ("full", "empty"),
        ("hard", "soft"),
        ("heavy", "light"),
        ("long", "short"),
        ("loud", "quiet"),
        ("thick", "thin"),
        ("wide", "narrow"),
        ("clean", "dirty"),
        ("good", "bad"),
        ("left", "right"),
        ("up", "down"),
        ("day", "night"),
        ("black", "white"),
        ("inside", "outside"),
        ("always", "never"),
        ("before", "after"),
        ("first", "last"),
        ("yes", "no"),
        ("sweet", "sour"),
    )
    for one, other in ((first, second), (second, first))
}
CAPITALS: Final = {
    "France": "Paris",
    "Spain": "Madrid",
    "Italy": "Rome",
    "Germany": "Berlin",
    "Japan": "Tokyo",
    "China": "Beijing",
    "England": "London",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Greece": "Athens",
    "Korea": "Seoul",
    "Austria": "Vienna",
    "Portugal": "Lisbon",
    "Poland": "Warsaw",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Ireland": "Dublin",
    "Canada": "Ottawa",
    "Cuba": "Havana",
    "Kenya": "Nairobi",
    "Peru": "Lima",
    "India": "Delhi",
    "Hungary": "Budapest",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
}
COLOR_OF: Final = {
    "grass": "green",
    "the sky": "blue",
    "snow": "white",
    "blood": "red",
    "a banana": "yellow",
    "coal": "black",
    "chocolate": "brown",
    "an elephant": "gray",
    "a lemon": "yellow",
    "a cherry": "red",
    "milk": "white",
    "a frog": "green",
    "a carrot": "orange",
    "the sea": "blue",
    "a tomato": "red",
    "a leaf": "green",
}
SOUND_OF: Final = {
    "cow": "moo",
    "dog": "woof",
    "cat": "meow",
    "duck": "quack",
    "sheep": "bah",
    "lion": "roar",
    "bee": "buzz",
    "snake": "hiss",
    "owl": "hoot",
}
LEGS_OF: Final = {
    "spider": 8,
    "dog": 4,
    "cat": 4,
    "horse": 4,
    "bird": 2,
    "ant": 6,
    "bee": 6,
    "snake": 0,
    "chicken": 2,
    "cow": 4,
    "fish": 0,
    "human": 2,
    "table": 4,
    "duck": 2,
    "elephant": 4,
    "fly": 6,
}
ALL: Final = tuple(
    sorted(
        {
            *ANIMALS,
            *THINGS,
            *PLACES,
            *PEOPLE,
            *ADJECTIVES,
            *VERBS,
            *ADVERBS,
            *FUNCTION_WORDS,
            *COLORS,
            *SHAPES,
            *WEATHER,
        }
    )
)
