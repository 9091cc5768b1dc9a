"""What languages are told by: scripts, letters and everyday words, as data. Holds no rule."""

from __future__ import annotations

# Letters of each script, as the inside of a character class.
SCRIPTS = {
    "latin": "A-Za-zªºÀ-ÖØ-öø-ʯḀ-ỿ", "cyrillic": "Ѐ-ԯ", "greek": "Ͱ-Ͽἀ-῿", "arabic": "ؠ-ۿݐ-ݿࢠ-ࣿ",
    "chinese": "々〇㐀-䶿一-鿿\uf900-\ufaff\U00020000-\U0003ffff", "kana": "ぁ-ゖゝ-ヺー-ヿㇰ-ㇿ",
    "hangul": "가-힣ᄀ-ᇿㄱ-ㆎ", "bopomofo": "ㄅ-ㄯ", "hebrew": "א-ת", "armenian": "Ա-և",
    "georgian": "Ⴀ-ჿ", "ethiopic": "ሀ-፼", "devanagari": "ऀ-ॿ", "bengali": "ঀ-৿",
    "gurmukhi": "਀-੿", "gujarati": "઀-૿", "odia": "଀-୿", "tamil": "஀-௿", "telugu": "ఀ-౿",
    "kannada": "ಀ-೿", "malayalam": "ഀ-ൿ", "sinhala": "඀-෿", "thai": "ก-๛", "lao": "຀-໿",
    "tibetan": "ༀ-࿿", "burmese": "က-႟", "khmer": "ក-៿",
}  # fmt: skip
# Scripts without spaces between words: how many words a letter is worth.
UNSPACED = {
    "chinese": 0.7, "kana": 0.4, "bopomofo": 0.4, "thai": 0.25, "lao": 0.25, "khmer": 0.25,
    "burmese": 0.25, "tibetan": 0.25,
}  # fmt: skip
# What a script says without a further look.
SCRIPT_LANGUAGES = {
    "latin": "en", "cyrillic": "ru", "greek": "el", "arabic": "ar", "chinese": "zh", "kana": "ja",
    "hangul": "ko", "bopomofo": "zh", "hebrew": "he", "armenian": "hy", "georgian": "ka",
    "ethiopic": "am", "devanagari": "hi", "bengali": "bn", "gurmukhi": "pa", "gujarati": "gu",
    "odia": "or", "tamil": "ta", "telugu": "te", "kannada": "kn", "malayalam": "ml",
    "sinhala": "si", "thai": "th", "lao": "lo", "tibetan": "bo", "burmese": "my", "khmer": "km",
}  # fmt: skip
# Chinese characters that only Japanese writes in this form.
JAPANESE_FORMS = frozenset("円駅込働畑峠気図駄読売広円辻経済発楽薬残拝歳処択沢訳駆浜仏払")

# Letters that all languages of a script share; the others speak for those that have them.
SHARED_LETTERS = {
    "latin": "abcdefghijklmnopqrstuvwxyz", "cyrillic": "абвгдежзиклмнопрстуфхцчшь",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقلمنوءه",
}  # fmt: skip
VIETNAMESE = "àáạảãâầấậẩẫăằắặẳẵèéẹẻẽêềếệểễìíịỉĩòóọỏõôồốộổỗơờớợởỡùúụủũưừứựửữỳýỵỷỹđ"
LETTERS = {
    "latin": {
        "en": "", "de": "äöüß", "fr": "àâæçéèêëîïôœùûüÿ", "es": "áéíñóúü", "pt": "áâãàçéêíóôõú",
        "it": "àèéìíîòóùú", "nl": "ëïéèöü", "vi": VIETNAMESE, "pl": "ąćęłńóśźż",
        "cs": "áčďéěíňóřšťúůýž", "sk": "áäčďéíĺľňóôŕšťúýž", "hu": "áéíóöőúüű", "ro": "ăâîșțşţ",
        "tr": "çğıöşüâî", "sv": "åäöé", "da": "æøåé", "no": "æøåéòô", "fi": "äöå",
        "hr": "čćđšž", "ca": "àçèéíïòóúü", "is": "áéíóúýþæöð", "et": "äõöüšž", "id": "",
        "tl": "ñ", "sw": "",
    },
    "cyrillic": {
        "ru": "ёйщъыэюя", "uk": "ґєіїйщюя", "be": "ёіўйыэюя", "bg": "йщъюя", "sr": "ђјљњћџ",
        "mk": "ѓѕјљњќџ", "kk": "әғқңөұүһіёйщъыэюя",
    },
    "arabic": {"ar": "ةىيكأإآؤئ", "fa": "پچژگکیآئ", "ur": "ٹڈڑںےہھپچژگکیآئ"},
}  # fmt: skip
# Everyday words, function words first. One that two languages share stands in both.
WORDS = {
    "latin": {
        "en": """the a an and or but if of to in on at by for from with without into about over
            under after before between through during as than so because while until is am are was
            were be been being do does did done have has had will would can could should may might
            must shall not no yes i you he she it we they me him her us them my your his its our
            their mine who whom whose what which when where why how this that these those there here
            then now all any some each every both few more most many much other another such only
            own same very too also just even still again ever never out up down off one two three
            get got go goes went come came make made take took see say said says know think want
            like need let please thank thanks hello hi hey good bye okay dear mister doctor new old
            first last next year years day days time people man men woman child life world way
            today tomorrow yesterday morning night week month hour minute price costs cost paid pay
            buy sold page chapter room call meet open left right die war hat son car or door pour
            come camera era non per sin et al found mon lt four five six seven eight nine ten
            hundred thousand c'mon ma'am o'clock won't can't y'all gonna wanna""",
        "de": """der die das den dem des ein eine einen einem einer eines und oder aber nicht kein
            keine ist sind war waren bin bist seid wird werden wurde hat haben hatte habe kann
            können konnte muss müssen soll will wollen ich du er sie es wir ihr mich mir dich dir
            ihm ihn uns euch mein meine dein sein seine unser zu zum zur im in auf aus bei beim mit
            nach von vom vor für über unter durch gegen ohne um an am bis als wie wenn weil dass
            daß ob auch noch nur schon sehr mehr hier dort jetzt heute morgen gestern wo wer was
            warum wann bitte danke hallo guten tag gut ja nein kostet gibt uhr jahr jahre""",
        "fr": """le la les un une des du de et ou mais ne pas plus que qui quoi dont où est sont
            était être suis es sommes êtes ont avez avons ai as a avait je tu il elle on nous vous
            ils elles mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette
            ces dans sur sous avec sans pour par chez vers entre en y au aux si comme quand
            pourquoi comment combien très bien aussi encore toujours jamais tout tous toute toutes
            fait faire peut veut voudrais bonjour bonsoir salut merci oui non monsieur madame coûte
            ans année heures aujourd'hui demain hier""",
        "es": """el la los las un una unos unas de del y o pero no que quien qué quién cómo cuándo
            dónde cuánto es son era eran fue ser soy eres somos está están estoy estaba hay tengo
            tiene tienen he ha han yo tú él ella nosotros ellos ellas usted ustedes me te se nos lo
            le les mi mis tu tus su sus este esta estos estas ese esa eso esto en con sin por para
            a al desde hasta entre sobre como cuando donde porque si más muy también ya todo todos
            quiero quiere puede hola gracias adiós buenos buenas días noches señor señora sí
            cuesta come
            años año hoy mañana ayer""",
        "pt": """o a os as um uma uns umas de do da dos das em no na nos nas e ou mas não que quem
            é são era foi ser sou está estão estou tem têm tenho há eu tu você vocês ele ela nós
            eles elas me te se lhe meu minha meus seu sua seus nosso este esta esse essa isso isto
            com sem por para pelo pela ao à até entre sobre como quando onde porque muito mais
            também já tudo todos quero pode olá obrigado obrigada bom dia boa noite senhor sim
            custa anos ano hoje amanhã ontem""",
        "it": """il lo la i gli le un uno una di del della dei delle da dal dalla in nel nella a al
            alla su sul con per tra fra e o ma non che chi cosa è sono era erano sei siamo ho hai
            ha abbiamo hanno io tu lui lei noi voi loro mi ti ci vi si mio mia tuo tua suo sua
            nostro questo questa quello quella come quando dove perché se anche più molto già tutto
            tutti ciao grazie buongiorno buonasera signor signora sì no costa anni anno oggi domani
            ieri voglio""",
        "nl": """de het een en of maar niet geen is zijn was waren ben bent heb hebt heeft hebben
            had wordt worden werd kan kunnen moet zal wil ik jij je u hij zij ze wij we jullie mij
            me hem haar ons onze mijn jouw van voor met zonder op in aan bij naar uit over onder
            door om te tot als dan dat die dit deze wat wie waar wanneer waarom hoe ook nog maar
            al heel meer er hier daar nu hallo dank bedankt alstublieft goed ja nee kost jaar""",
        "vi": """tôi bạn anh chị em ông bà là và của có không được cho với này đó những các một hai
            ba người trong ngoài khi nếu thì mà nhưng vì rất cũng đã đang sẽ từ đến ở về ra vào
            xin chào cảm ơn vâng dạ lô alo ta con đi gì này kia ấy nào đâu sao bao giờ còn chưa
            rồi nữa
            thôi nhé hai bốn năm sáu bảy tám chín mười ngày tháng hôm nay giá đồng toi khong cua
            duoc
            nhung nguoi trong chao cam nhieu troi dep ngay chung oi muon mot cai rat tien uong
            yeu tat
            sinh vien nuoc choi viet biet thich hieu hoc truong lop thay cung nao vay tren duoi
            ngoai
            truoc trieu thang tuan hom anh em gi ten di moi""",
        "pl": """i w we na z ze do od po za o u nie tak że się jest są był była było być jestem
            mam ma mają ja ty on ona my wy oni mnie mi ci go jej ich mój moja twój jego ten ta to
            te co kto gdzie kiedy jak dlaczego ale albo lub czy dla przez przed pod nad bardzo już
            tylko też jeszcze dzień dobry dziękuję proszę cześć kosztuje""",
        "cs": """a i v ve na z ze do od po za o u s se si je jsou byl byla bylo být jsem jste mám
            má mají já ty on ona my vy oni mě mi ho jí ten ta to ty co kdo kde kdy jak proč ale
            nebo pro přes před pod nad velmi už jen také ještě dobrý den děkuji prosím ahoj stojí
            není že který která""",
        "sk": """a v vo na z zo do od po za o u s so sa si je sú bol bola bolo byť som ste mám má
            majú ja ty on ona my vy oni ma mi ho jej ten tá to čo kto kde kedy ako prečo ale alebo
            pre cez pred veľmi už len tiež ešte dobrý deň ďakujem prosím ahoj nie že ktorý""",
        "hu": """a az egy és vagy de nem igen hogy van vannak volt voltak lesz én te ő mi ti ők
            engem nekem ez ezt azt ami aki mit hol mikor miért hogyan mert ha is már még csak
            nagyon jó napot köszönöm kérem szia kerül meg""",
        "ro": """și şi un o de la în din cu pe pentru nu este sunt era a fost fi am ai are au eu tu
            el ea noi voi ei ele mă te se îi al ai ale lui lor acest această ce care cine unde când
            cum dar sau că să mai foarte bună ziua mulțumesc da costă""",
        "tr": """ve bir bu şu o ne için ile de da değil var yok mı mi mu mü ben sen biz siz onlar
            benim senin onun çok daha en gibi kadar ama veya çünkü nasıl nerede zaman kim evet
            hayır merhaba teşekkürler günaydın lütfen olarak sonra""",
        "sv": """och en ett den det de att i på av för med till från om som är var vara har hade
            kan ska vill inte jag du han hon vi ni mig dig oss min mitt din sin vad vem var när hur
            varför men eller också mycket mer hej tack god ja nej kostar år""",
        "da": """og en et den det de at i på af for med til fra om som er var være har havde kan
            skal vil ikke jeg du han hun vi jer mig dig os min mit din sin hvad hvem hvor hvornår
            hvordan hvorfor men eller også meget mere hej tak god ja nej koster år""",
        "no": """og en et ei den det de å i på av for med til fra om som er var være har hadde kan
            skal vil ikke jeg du han hun vi dere meg deg oss min mitt din sin hva hvem hvor når
            hvordan hvorfor men eller også veldig mer hei takk god ja nei koster år""",
        "fi": """ja tai mutta ei en et on ovat oli olen olet minä sinä hän me te he minun sinun
            tämä se että kun jos niin kuin mitä missä milloin miksi miten myös vain hyvin hyvää
            päivää kiitos hei kyllä maksaa paljon""",
        "hr": """i u na s sa iz od do za o po ne je su bio bila bilo biti sam si smo ste imam ima
            ja ti on ona mi vi oni me ga mu ovaj taj to što tko gdje kada kako zašto ali ili da
            vrlo već samo dobar dan hvala molim bok koji koja""",
        "ca": """el la els les un una de del dels i o però no que qui és són era ser està tinc té
            jo tu ell ella nosaltres em et es li meu seva amb sense per a al des fins com quan on
            perquè si més molt també ja tot hola gràcies adéu bon dia avui demà""",
        "is": """og er að í á ég þú hann hún það við þeir ekki var um til frá með sem en eða af
            hef hefur ertu hvað hver takk já nei góðan daginn""",
        "et": """ja on ei see ma sa ta me te nad mul sul oli olen kui et aga või mis kes kus ka
            väga tere aitäh jah""",
        "id": """yang dan di ke dari ini itu dengan untuk pada adalah tidak bukan saya aku kamu
            anda dia kami kita mereka akan sudah ada bisa juga atau tetapi karena jika seperti apa
            siapa mana kapan bagaimana sangat lebih terima kasih selamat pagi orang""",
        "tl": """ang ng mga sa na ay si ni kay ako ikaw siya kami tayo kayo sila ko mo niya ito
            iyan hindi oo po opo at o pero kung para kumusta salamat magandang araw""",
        "sw": """na ya wa kwa ni za la katika hii huyo hiyo mimi wewe yeye sisi wao si siyo lakini
            au kama sana habari asante karibu leo kesho jambo""",
    },
    "cyrillic": {
        "ru": """и в во не на я он она мы вы они ты что это как но а с со к по из за от до для у о
            же бы ли так все всё мне меня его её их мой моя наш был была было были быть есть нет
            да или если когда где кто почему очень уже только ещё привет спасибо стоит лет""",
        "uk": """і й в у не на я він вона ми ви вони ти що це як але а з із до по за від для о ж
            би чи так все мені мене його її їх мій був була було були бути є немає або якщо коли
            де хто чому дуже вже тільки ще привіт дякую""",
        "be": """і ў не на я ён яна мы вы яны ты што гэта як але а з да па за ад для быў была было
            ёсць няма або калі дзе хто чаму вельмі ўжо толькі яшчэ прывітанне дзякуй""",
        "bg": """и в във не на аз той тя ние вие те ти че това как но а с със към по из за от до
            се са съм е си ли да ще бе беше бяха има няма или ако когато къде кой защо много вече
            само още здравей благодаря""",
        "sr": """и у не на ја он она ми ви они ти што то како али а с са из за од до је су сам си
            да ће био била има нема или ако када где ко зашто врло већ само још здраво хвала""",
        "mk": """и во не на јас тој таа ние вие тие ти што тоа како но а со од до за е се сум да
            ќе беше има нема или ако кога каде кој зошто многу веќе само уште здраво благодарам""",
        "kk": """мен сен ол біз сіз және бұл мына бар жоқ емес үшін деп болды болып қалай қайда
            сәлем рахмет""",
    },
    "arabic": {
        "ar": """في من على إلى عن مع هذا هذه ذلك التي الذي أن إن لا ما لم هو هي أنا نحن كان كل
            مرحبا شكرا نعم""",
        "fa": """از به با در را که این آن است بود شد می من تو او ما شما و یا برای هم تا سلام ممنون
            نیست""",
        "ur": """کے کا کی میں ہے ہیں سے کو اور یہ وہ نے پر تھا نہیں آپ ہم شکریہ""",
    },
}  # fmt: skip
# Written with marks, and English all the same.
ENGLISH_LOANS = frozenset(
    """café cafés cliché clichés naïve naïveté façade façades fiancé fiancée résumé résumés exposé
    déjà voilà soufflé purée crème brûlée entrée entrées élite décor débutante protégé touché passé
    blasé rosé sauté sautéed pâté matinée soirée séance née piñata jalapeño jalapeños señor señora
    über doppelgänger coöperate coördinate reëlect zoë noël""".split()
)
# Beside a capital these belong to a name: Los Angeles, Leonardo da Vinci, Le Monde.
NAME_PARTS = frozenset(
    """el la los las le les de del della da di do dos das du des van von der den ten zu san santa
    san são saint al bin ben ibn o y e""".split()
)
